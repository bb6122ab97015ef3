"""The kit finds what is planted: each broken plugin fails the check that is about its fault, in words that name it; the same
plugin without the fault passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftp_testing import check

PLANTED = Path(__file__).parent / "planted.py"
CASES = {
    # what every plugin is asked
    "Every_unmarked": ("class-is-sound", "evaluate has the name of a hook but no @hookimpl"),
    "Every_argument": ("class-is-sound", "no argument 'prediction'"),
    "Every_typo": ("class-is-sound", "no such hook"),
    "Every_still": ("class-is-sound", "answers no hook"),
    "Every_silent": ("says-what-it-does", "no docstring"),
    "Every_word": ("says-what-it-does", "without a word of help: share"),
    "Every_untyped": ("hooks-are-typed", "on_event(event)"),
    "Every_range": ("fields-are-options", "default 1.5"),
    "Every_candidate": ("class-is-sound", "share 2.0"),
    "Every_refused": ("candidates-run", "the candidate size=2 does not take an update"),
    "Every_field": ("fields-are-options", "no options: share"),
    "Every_comma": ("options-round-trip", "'Oslo, Norway' as a flag is not ('Oslo, Norway',)"),
    # objectives
    "Talk_unbuilt": ("builds-a-loss", "failed in make_loss: KeyError: 'hidden'"),
    "Talk_answered_only": ("runs-to-the-end", "asked a plain text, the finished run raises IndexError"),
    "Talk_mean": ("totals-are-sums", "a mean, not a sum"),
    "Talk_steps": ("accumulation-changes-nothing", "a mean of means"),
    "Talk_prompts": ("prompts-are-not-learnt", "tokens of prompts are learnt"),
    "Talk_forgets": ("messages-are-kept-whole", "tool_calls of the answer"),
    "Talk_controls": ("control-text-stays-text", "in a text becomes the control token"),
    "Talk_shift": ("tokens-are-predicted-from-those-before", "not the one behind those that it is predicted from"),
    "Talk_pads_are_ends": ("ends-are-learnt", "where it is the pad token too"),
    "Talk_no_end": ("ends-are-learnt", "generation would never stop"),
    "Talk_double_bos": ("one-beginning", "a double BOS"),
    "Talk_leaks": ("packing-changes-nothing", "packed rows read each other"),
    "Talk_draws": ("encodes-by-the-contract", "other rows the second time"),
    "Talk_key": ("key-holds-what-encode-depends-on", "--talk_key.shout True encode gives other rows"),
    "Talk_no_key": ("key-holds-what-encode-depends-on", "Loss.key is empty"),
    "Talk_wakes": ("weights-move-as-they-should", "was frozen by a parameterisation"),
    "Talk_moves": ("weights-move-as-they-should", "is frozen, and training moved it"),
    "Talk_half": ("weights-move-as-they-should", "gets no gradient"),
    "Talk_bonus": ("gradients-are-those-of-the-total", "along a random direction of lm_head.weight, and its gradient says"),
    "Talk_faint": ("gradients-are-those-of-the-total", "along a random direction of lm_head.weight, and its gradient says"),
    "Talk_backward": ("gradients-are-those-of-the-total", "along a random direction of lm_head.weight, and its gradient says"),
    "Talk_zeroed": ("gradients-are-those-of-the-total", "layers.0.mlp.gate_proj.weight is trained, and not a bit of"),
    "Talk_hooked": ("comes-back-in-a-fresh-process", "gives other logits than the trained network"),
    "Talk_own_way": ("two-processes-are-one", "after update 1 the two processes hold other weights"),
    "Talk_ranks": ("two-processes-are-one", "in one process and"),
    "Talk_rises": ("learnt-text-gets-likelier", "get less likely"),
    "Talk_flat": ("loss-falls", "it does not fall"),
    "Talk_breaks": ("loss-falls", "the loss of the first rows is nan"),
    "Talk_reads_padding": ("padding-changes-nothing", "padded on the left"),
    "Talk_needs_rows": ("comes-back-without-rows", "raises without rows"),
    "Talk_clock": ("same-seed-same-run", "with the same seed a run comes out differently"),
    "Talk_counts": ("survives-kill", "and resumed, a run ends differently"),
    "Talk_state": ("survives-kill", "killed after update 2 and resumed, a run ends differently"),
    "Prefer_itself": ("starts-from-the-reference", "the reference moves with the model"),
    "Prefer_swapped": ("starts-from-the-reference", "rewards/margins is"),
    "Contrast_each_for_itself": ("totals-are-sums", "two batches add up to what their rows give in one"),
    "Contrast_does_not_say": ("totals-are-sums", "a row's loss depends on the rows beside it"),
    "Classes_last_place": ("padding-changes-nothing", "padded on the right"),
    # parameterisations
    "Bias_old_head": ("trains-some-weights", "pooler is new"),
    "Bias_elsewhere": ("starts-as-the-base", "other answers than without the plugin"),
    "Bias_same": ("reference-is-untouched", "does not give the answers of before the run"),
    "Bias_none": ("reference-is-untouched", "took away Model.reference"),
    "Bias_zeroed": ("only-trained-weights-move", "idle is trained on paper: six updates did not move it"),
    "Bias_moves": ("only-trained-weights-move", "is frozen, and training moved it"),
    "Bias_lost_head": ("saves-what-it-trained", "the new head is lost"),
    "Adapter_alpha": ("merges", "merged into its base, the bert gives other logits"),
    # domains
    "Notes_copies": ("splits-are-apart", "row 0 of validation is also row 0 of train"),
    "Notes_poor": ("gives-what-it-says", "says that it gives 'labelled'"),
    "Notes_shuffled": ("gives-the-same-rows-each-time", "another order"),
    "Notes_torch": ("needs-no-torch", "torch was imported"),
    "Notes_by_place": ("scores-do-not-depend-on-order", "accuracy of"),
    "Notes_no_number": ("runs-to-the-end", "scores that are no numbers: accuracy of"),
    "Notes_per_cent": ("right-answers-score-best", "accuracy of train is 100"),
    "Notes_never_one": ("right-answers-score-best", "when every answer is right (labelled), not 1"),
    "Notes_always": ("right-answers-score-best", "is 1 also when every answer is wrong"),
    "Notes_wrong_way": ("right-answers-score-best", "its goal is 'min'"),
    # who hears of events
    "Listen_saved": ("hears-every-event", "Saved at update 2 of a whole run"),
    "Listen_resumed": ("hears-every-event", "Step at update 4 of its resume"),
    "Listen_answers": ("hears-every-event", "gave a str to on_event, not a Stop"),
    # risks
    "Watch_ok": ("nothing-compared-is-not-ok", "shown no rows"),
    "Watch_one_split": ("nothing-compared-is-not-ok", "with one split alone it says ok"),
    "Watch_no_history": ("nothing-compared-is-not-ok", "says 'ok' at stage evaluation"),
    "Watch_raises": ("raises-on-nothing", "shown one split alone, it raises at stage data: KeyError"),
    "Watch_bare": ("verdicts-are-sound", "without evidence"),
    "Watch_level": ("verdicts-are-sound", "the level 'fine'"),
    "Watch_no_advice": ("verdicts-are-sound", "without advice"),
    "Watch_words": ("verdicts-are-sound", "advises 'take them out'"),
    "Watch_dice": ("verdicts-repeat", "something else at stage data"),
    "Watch_names": ("one-name-at-each-stage", "watch-evaluation"),
}
"""Class in planted.py -> the check that must fail, and words that it must say."""


@pytest.mark.parametrize("planted", CASES)
def test_a_planted_fault_is_found_and_named(planted: str) -> None:
    name, words = CASES[planted]
    report = check(f"{PLANTED}:{planted}", only=[name])
    assert [outcome.check for outcome in report.failed] == [name], report.outcomes
    message = report.failed[0].message
    assert words in message
    assert len(message.splitlines()) > 1, f"it does not say how to mend it: {message}"


@pytest.mark.parametrize("sound", ["Talk", "Prefer", "Classes", "Contrast", "Bias", "Adapter", "Notes", "Listen", "Watch"])
def test_without_the_fault_it_passes(sound: str) -> None:
    names_of_checks = {name for planted, (name, _) in CASES.items() if planted.split("_")[0] in (sound, "Every")}
    # these declare no candidates, so that there are none to try
    names = sorted(names_of_checks - {"hooks-are-typed", "candidates-run"})
    report = check(f"{PLANTED}:{sound}", only=names)
    assert not report.failed and {outcome.status for outcome in report.outcomes} == {"ok"}, report.outcomes


def test_a_reference_of_which_nothing_is_shown_is_not_ok() -> None:
    (outcome,) = check(f"{PLANTED}:Prefer_silent", only=["starts-from-the-reference"]).outcomes
    assert outcome.status == "not_applicable" and "rewards/margins" in outcome.message


def test_heavy_imports_are_found(tmp_path: Path) -> None:
    path = tmp_path / "heavy.py"
    path.write_text('import datasets\nimport ftp\n\n@ftp.plugin\nclass Heavy:\n    """Loads too much."""\n\n'
                    "    @ftp.hookimpl\n    def on_event(self, event: object) -> None: ...\n")
    report = check(f"{path}:Heavy", only=["imports-light"])
    assert [outcome.check for outcome in report.failed] == ["imports-light"]
    assert "importing it imports datasets" in report.failed[0].message


def test_a_wrapper_beside_lora_that_does_nothing_passes() -> None:
    """LoRA's A gets a gradient of zero as long as its B is frozen at zero."""
    (outcome,) = check(f"{PLANTED}:Beside", only=["weights-move-as-they-should"]).outcomes
    assert outcome.status == "ok", outcome.message


def test_what_it_cannot_go_with_is_said_once() -> None:
    report = check(f"{PLANTED}:Beside_nobody", only=["builds-a-loss", "loss-falls", "totals-are-sums"])
    (failed,) = report.failed
    assert "goes_with names no-such-plugin" in failed.message and len(failed.message.splitlines()) > 1
    assert {outcome.status for outcome in report.outcomes} == {"failed", "not_applicable"}


def test_code_that_knows_no_double_precision_is_looked_at_in_single() -> None:
    (outcome,) = check(f"{PLANTED}:Talk_single", only=["gradients-are-those-of-the-total"]).outcomes
    assert outcome.status == "ok" and outcome.message.endswith("in single precision"), outcome


def test_a_loss_of_single_precision_is_computed_in_double() -> None:
    (outcome,) = check("rlhf", only=["gradients-are-those-of-the-total"]).outcomes  # its tables have a row of padding
    assert outcome.status == "ok" and outcome.message.endswith("in double precision"), outcome


def test_what_a_method_leaves_out_of_the_gradient_is_said_in_words() -> None:
    (outcome,) = check(f"{PLANTED}:Talk_says_so", only=["gradients-are-those-of-the-total"]).outcomes
    assert outcome.status == "not_applicable" and "leaves out of the gradient: the bonus" in outcome.message


def test_a_wrapper_that_lives_on_events_passes() -> None:
    """It hears in the kit's own updates what it hears in a run."""
    names = ["builds-a-loss", "totals-are-sums", "weights-move-as-they-should", "hears-every-event"]
    report = check(f"{PLANTED}:Warm", only=names)
    assert {outcome.status for outcome in report.outcomes} == {"ok"}, report.outcomes
