"""Checks of what is minimised: of objectives, and of plugins that wrap a loss or an update. Heavy: imports torch.

Most stand in modules of their own, which register theirs where they are imported.
"""

from __future__ import annotations

import contextlib
import dataclasses

from ftp import heads
from ftp.errors import UserError
from ftp_testing.checks import encoded_rows  # noqa: F401
from ftp_testing.checks.learnt_text import ends_are_learnt, learnt_text_gets_likelier, prompts_are_not_learnt
from ftp_testing.checks.loss_sums import accumulation_changes_nothing, padding_changes_nothing, totals_are_sums
from ftp_testing.checks.trained_weights import loss_falls
from ftp_testing.models import PAIRED
from ftp_testing.objective_scenes import shown_metrics, task_of, train
from ftp_testing.outcome import Fault, NotApplicable, check
from ftp_testing.scene import apart, build, copied, fitting, scene_of
from ftp_testing.subject import Fit, Subject

LOOKS = (totals_are_sums, accumulation_changes_nothing, padding_changes_nothing, prompts_are_not_learnt, ends_are_learnt,
         learnt_text_gets_likelier, loss_falls)
"""What is looked at on an encoder-decoder as well."""


@check("objective")
def encoder_decoders_too(subject: Subject) -> str:
    """Where an objective on tokens takes a network with an encoder and a decoder as well, what is asked of sums, accumulation,
    padding, prompts and ends holds there too."""
    if not heads.get(task_of(subject).head).writes_text or fitting(subject) in PAIRED:
        raise NotApplicable("such a network has no head of this kind, or all was looked at on one")
    other = dataclasses.replace(subject, memory=dataclasses.replace(subject.memory, fit=Fit(PAIRED[0])))
    try:
        scene = build(other, PAIRED[0])
        scene.out(scene.rows(1))
    except UserError as error:
        raise NotApplicable(f"it refuses one: {str(error).splitlines()[0]}") from error
    except Exception as error:  # written for networks with one stack of layers, as most are
        raise NotApplicable(f"it takes none ({type(error).__name__}: {error}); ftp.losses.tokens.refuse_encoder_decoder would tell "
                            "users in words") from error
    findings = []
    for look in LOOKS:
        with contextlib.suppress(NotApplicable):
            findings.append(look(other))
    if not findings:
        raise NotApplicable("the kit's rows are too few")
    return f"{len(findings)} looks at a tiny {PAIRED[0]}: {findings[-1]}"


@check("objective")
def starts_from_the_reference(subject: Subject) -> str:
    """Where weights are compared with those of before the run, they are the same at first, and no longer after training."""
    scene = scene_of(subject, rolled=False)
    rows = scene.rows(6)
    compared = {name: value for name, value in shown_metrics(scene, rows).items() if _is_of_reference(name)}
    is_asked = scene.asked[0] > 0
    for name, value in compared.items():
        if is_asked and abs(value) > 1e-4:
            raise Fault(f"{name} is {value:.4g} before the first update, not 0: the reference is not the untouched model, or reads other "
                        "tokens than the model does", "ask `model.reference()` with the same inputs, in evaluation mode, without gradients")
    before = copied(scene.weights())
    train(scene, rows, updates=4)
    trained = copied(scene.weights())
    after = shown_metrics(scene, rows)
    compare_with = "compare with `model.reference()`, the weights as they were before the run"
    # an objective may need no reference (ORPO, SimPO): only margins that never move tell of one that moves along
    if not is_asked:
        margins = [name for name in compared if "margin" in name]
        if margins and all(abs(compared[name]) < 1e-6 and abs(after[name]) < 1e-6 for name in margins):
            raise Fault("margins are 0 before training, and 0 after it: the reference moves with the model", compare_with)
        raise NotApplicable("it does not ask for the weights of before the run (model.reference)")
    if compared and all(abs(after[name]) < 1e-7 for name in compared):
        raise Fault(f"{', '.join(compared)}: 0 before training, and 0 after it: the reference moves with the model", compare_with)
    changed, difference = apart(trained, copied(scene.weights()))
    if difference:
        raise Fault(f"after the reference was asked, {changed} is another than before", "leave `with model.reference()` before training goes on")
    if apart(before, trained)[1] == 0:
        raise Fault("training moved nothing once the reference was asked", "ask the reference only inside `with model.reference() as net`")
    if not compared:
        raise NotApplicable("it asks for the reference, and shows no rewards/margins, rewards/chosen, rewards/rejected or kl to compare")
    shown = ", ".join(f"{name} {value:.3g} then {after[name]:.3g}" for name, value in compared.items())
    return f"the reference is asked; {shown}"


def _is_of_reference(metric: str) -> bool:
    """Whether a metric compares with the weights of before the run, so that it is 0 at first."""
    return "margin" in metric or metric in ("rewards/chosen", "rewards/rejected", "kl")


@check("objective")
def comes_back_without_rows(subject: Subject) -> str:
    """A finished run comes back (`ftp.load`) with its model alone: no rows, and no reference."""
    from ftp.folder.log import Log
    from ftp.types import Data

    scene = build(subject, fitting(subject))
    model = dataclasses.replace(scene.model, reference=None)
    run = dataclasses.replace(scene.run, log=Log(None, writer=False))
    try:
        loss = run.hooks.one("make_loss", run=run, data=Data({}, scene.data.form, scene.data.labels), model=model)
    except Exception as error:
        raise Fault(f"make_loss raises without rows and reference: {error}",
                    "read rows only inside encode; ask for the reference only inside compute, where a loss is wanted") from error
    return f"{loss.name or type(loss).__name__} without rows"
