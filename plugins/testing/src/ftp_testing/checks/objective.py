"""Checks of what is minimised: of objectives, and of plugins that wrap a loss or an update. Heavy: imports torch."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch

from ftp import forms, heads
from ftp.data import control_text, tables
from ftp.data.target_form import shape
from ftp.errors import UserError
from ftp.types import Row
from ftp_testing import rows as written
from ftp_testing import spelt
from ftp_testing.checks.every import others
from ftp_testing.gradients import in_double, slopes, total, unused
from ftp_testing.models import PAIRED
from ftp_testing.outcome import Fault, NotApplicable, check
from ftp_testing.scene import Scene, apart, build, close, copied, fitting, learnt_tokens, move, noting_gradients, scene_of
from ftp_testing.subject import Subject


def has_answers(form: str) -> bool:
    """Whether rows are prompts with answers in messages."""
    spec = forms.get(form)
    return spec.has_messages and not spec.has_prompts_alone


@check("objective")
def builds_a_loss(subject: Subject) -> str:
    """On a tiny model that has the head, with rows of the form that the objective wants."""
    try:
        kind = fitting(subject)
    except NotApplicable:
        raise Fault(f"it builds no loss on any tiny model: {subject.kept['kind']['broken']}",
                    "mend make_loss; where it needs another kind of network, say so in a UserError") from None
    task = subject.prepared().task
    return f"form {task.form}, head {task.head}, on a tiny {kind}"


@check("objective")
def encodes_by_the_contract(subject: Subject) -> str:
    """Encoded rows have token ids, say which row they came from, and come out the same a second time."""
    scene, again = scene_of(subject), scene_of(subject)
    told = []
    for split in ("train", "validation"):
        first, second, third = scene.encoded(split), scene.encoded(split), again.encoded(split)
        if not first:
            raise Fault(f"no row of {split} is left after encoding", "encode gives at least one row of the kit's; see ftp_testing.rows")
        for other in (second, third):
            if [dict(row) for row in first] != [dict(row) for row in other]:
                raise Fault(f"encode gives other rows the second time ({_difference(first, other)}): encoded rows are cached, so one "
                            "draw would be frozen for ever, and a resumed run would train on other rows",
                            "draw nothing in encode; random masks belong in collate, which the loop seeds by update")
        told.append(f"{len(first)} of {split}")
    return f"{' and '.join(told)} rows, the same each time"


@check("objective")
def key_holds_what_encode_hangs_on(subject: Subject) -> str:
    """`Loss.key` is the same for the same encoding, and another where an option changes what `encode` gives."""
    scene = scene_of(subject, rolled=False)
    first = [dict(row) for row in scene.encoded()]
    if not scene.loss.key:
        raise Fault("Loss.key is empty, so rows encoded for another model or option would be taken from the cache",
                    "key=ftp.data.encode.cache_key(tokenizer, \"name\", VERSION, everything else that encode reads)")
    if scene_of(subject, rolled=False).loss.key != scene.loss.key:
        raise Fault("Loss.key is another one the second time, so nothing would ever come from the cache",
                    "put only what encode depends on into it: no addresses, times or counters")
    tried, told = {"max_length": 24}, []
    changes: list[tuple[str, dict[str, Any]]] = [("--max-length 24", {"max_length": tried["max_length"]})]
    changes += [(f"{item.flag} {value}", {subject.name: {item.name: value}})
                for item in subject.picked.options for value in others(item)]
    for flag, options in changes:
        try:
            other = build(subject, fitting(subject), **options)
            rows = [dict(row) for row in other.encoded()]
        except (UserError, ValueError):  # a value that does not go with these rows or this model
            continue
        told.append(flag)
        if rows != first and other.loss.key == scene.loss.key:
            raise Fault(f"with {flag} encode gives other rows ({_difference(first, rows)}), but Loss.key stays the same: the cache "
                        "would hand out rows of the other setting", "put the option into the key")
    return f"held against {', '.join(told) or 'nothing: no option could be changed'}"


@check("objective")
def one_beginning(subject: Subject) -> str:
    """No row begins with two beginning-of-text tokens; a tokenizer that writes one gets its one."""
    told, looked = [], False
    for scene in _both(subject):
        tokenizer = scene.model.tokenizer
        begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.cls_token_id
        plain = list(tokenizer("a")["input_ids"])
        if begin is None or plain[0] != begin or len(plain) < 2:
            told.append(f"the tokenizer of {scene.kind} writes none")
            continue
        looked = True
        for row in scene.encoded():
            texts = len(row.get("segments") or (0,))
            for name, ids in _token_columns(row):
                number = sum(one == begin for one in ids)
                if number > texts or any(one == other == begin for one, other in pairwise(ids)):
                    raise Fault(f"{name} holds the token {tokenizer.convert_ids_to_tokens(begin)} {number} times "
                                f"({tokenizer.decode(ids[:8])!r} ...): a double BOS",
                                "where a chat template writes it, tokenize its text with add_special_tokens=False")
                if number == 0 and name == "input_ids":
                    raise Fault(f"a row begins without {tokenizer.convert_ids_to_tokens(begin)}, which the tokenizer itself writes "
                                f"({tokenizer.decode(ids[:8])!r} ...)", "the model was trained with it: add it once")
        told.append(f"one a text on {scene.kind}")
    if not looked:
        raise NotApplicable("; ".join(told))
    return "; ".join(told)


@check("objective")
def messages_are_kept_whole(subject: Subject) -> str:
    """Each field of a message (calls of tools, names, reasoning, parts), and a row's tools, reaches the tokens where the chat
    template writes it, or the row is refused by the field's name."""
    form, _ = _task(subject)
    if not forms.get(form).has_messages:
        raise NotApplicable(f"it reads no messages (form {form})")
    scene = scene_of(subject, template=spelt.EVERY_FIELD)
    kept, refused, too_long, lost = 0, list[str](), list[str](), list[str]()
    for case in spelt.field_rows(form):
        name = f"{case.field} of {case.where}"
        rows = tables.to_rows(shape({"train": tables.from_rows([case.row])}, form)[0]["train"])
        try:
            encoded = list(scene.loss.encode(rows))
        except UserError as error:
            # `tool_calls` is named where several calls are parallel, too
            if case.field.split()[-1] not in str(error) and case.word not in str(error):
                raise Fault(f"a row with {name} is refused without a word about it: {error}",
                            "name the row and the field, as in: row 3 has messages[1].tool_calls, which are not read") from error
            refused.append(name)
            continue
        if any("left_out" in row for row in encoded):
            too_long.append(name)
            continue
        # tokenizers of word pieces part words by blanks
        texts = [scene.model.tokenizer.decode(ids).replace(" ", "") for row in encoded for _, ids in _token_columns(row)]
        if any(case.word in text for text in texts):
            kept += 1
        else:
            lost.append(name)
    if lost:
        raise Fault(f"the chat template writes {lost[0]}, and no token of the row says it (lost in all: {', '.join(lost)})",
                    "encode whole messages by ftp.losses.conversations, or refuse rows by the field that you do not read (UserError)")
    parts = [f"{kept} fields reach the tokens"]
    parts += [f"{len(names)} {what} ({', '.join(names)})" for names, what in ((refused, "are refused"), (too_long, "are left out")) if names]
    return "; ".join(parts)


@check("objective")
def control_text_stays_text(subject: Subject) -> str:
    """A control token that a text spells (`</s>`) stays text, in training as where a finished model is asked."""
    form, _ = _task(subject)
    told = []
    for scene in _both(subject):
        tokenizer = scene.model.tokenizer
        controls = control_text.of_run(scene.run, tokenizer).controls
        rows = written.rows(form, count=6)
        is_answered = scene.loss.has_answers and has_answers(form) and forms.get(form).is_whole
        for is_asked in (False, True) if is_answered else (False,):
            plain = _control_tokens(scene, [spelt.spelling(row, "x") for row in rows], is_asked)
            for control in controls:
                found = _control_tokens(scene, [spelt.spelling(row, control) for row in rows], is_asked)
                token = tokenizer.convert_tokens_to_ids(control)
                # objectives that lay texts end to end may drop the last few, with the ends that are theirs
                if token != tokenizer.unk_token_id and found[token] > plain[token] + len(rows):
                    raise Fault(f"{control} in a text becomes the control token ({found[token]} times in {len(rows)} rows, "
                                f"{plain[token]} without it), on {scene.kind}: a text can end its turn and begin another",
                                "tokenise texts by ftp.data.control_text.of_run(run, tokenizer), messages by ftp.losses.conversations")
        told.append(f"{', '.join(controls)} on {scene.kind}")
    return "; ".join(told)


@check("objective")
def loss_falls(subject: Subject) -> str:
    """The loss is finite, depends on the trained weights, and falls on the same rows within a few updates."""
    scene = scene_of(subject)
    rows = scene.rows(8)
    before = scene.out(rows)
    if not math.isfinite(float(before.total)):
        raise Fault(f"the loss of the first rows is {float(before.total)}", "look for a logarithm or a division of zero")
    count = scene.batch(rows).count
    if count < 1:
        raise Fault("no term of the first rows is learnt (Batch.count is 0): all labels are masked", "see which tokens are labelled")
    _train(scene, rows, updates=12)
    after = scene.total(rows)
    if not after < float(before.total):
        raise Fault(f"twelve updates on the same {len(rows)} rows bring the loss from {float(before.total) / count:.4g} to "
                    f"{after / count:.4g} a term: it does not fall", "look at the sign of `total`, and whether it is detached on the way")
    return f"{float(before.total) / count:.4g} to {after / count:.4g} a term in 12 updates"


@check("objective")
def weights_move_as_they_should(subject: Subject) -> str:
    """Every trained weight moves in training, and no frozen one does."""
    base = scene_of(subject)
    names = [name for name, weight in base.weights().items() if weight.requires_grad]
    frozen = {name for name in names if not name.startswith("extra.")}
    frozen = {name for number, name in enumerate(sorted(frozen)) if number % 3 == 0}  # a third of them
    scene = build(subject, base.kind, freeze=lambda name: name in frozen)
    before, marked = copied(scene.weights()), set(scene.trained())
    if woken := sorted(frozen & marked):
        raise Fault(f"{woken[0]} was frozen by a parameterisation, and make_loss has it trained again",
                    "leave requires_grad as build_model gave it")
    if not scene.loss.compute(scene.batch(scene.rows(8))).total.requires_grad:
        raise Fault(f"with {len(frozen)} weights frozen the loss depends on none of the trained ones: {min(marked)}, for one, gets no gradient",
                    "compute the loss from all of the network's output, without detaching it")
    with noting_gradients(scene.trained()) as reached:
        _train(scene, scene.rows(8), updates=4)
    after = scene.weights()
    for name, value in before.items():
        moved = not torch.equal(value, after[name].detach())
        if moved and name not in marked:
            raise Fault(f"{name} is frozen, and training moved it", "change weights only through the optimizer; it has the trained ones")
        if not moved and name in marked and name not in reached:
            raise Fault(f"{name} is trained, and four updates did not move it: it gets no gradient",
                        "compute the loss from all of the network's output, without detaching it")
    return f"{len(marked)} trained weights got gradients, {len(before) - len(marked)} frozen ones did not move"


@check("objective")
def gradients_are_those_of_the_total(subject: Subject) -> str:
    """The gradient of each trained weight is how `total` changes with it (a finite difference along random directions), and each
    has a part in it. What a method means to leave out of the gradient is said in words by `@plugin(detaches="...")`."""
    scene = move(scene_of(subject))
    scene.model.net.train()
    batch = scene.batch(scene.rows(4))
    first, second = total(scene, batch), total(scene, batch)
    if not first.requires_grad:
        raise Fault("`total` depends on no trained weight", "compute it with gradients, and without detaching it on the way")
    if not torch.equal(first, second):
        raise NotApplicable("the same batch has another loss the second time, with the same random state")
    if idle := unused(scene, batch):
        raise Fault(f"{idle[0]} is trained, and not a bit of `total` depends on it, however far it is moved",
                    "it is not used, or multiplied by zero on the way; freeze it, or let it have its part in the loss")
    if reason := subject.picked.declaration.detaches:
        raise NotApplicable(f"every weight has a part in the loss; it says that it leaves out of the gradient: {reason}")
    names = set[str]()
    with in_double(scene, batch) as is_double:
        for slope in slopes(scene, batch):
            names.add(slope.weight)
            if not slope.agrees:
                raise Fault(f"`total` changes by {slope.by_difference:.5g} a unit along a random direction of {slope.weight}, and its "
                            f"gradient says {slope.by_gradient:.5g}",
                            "look for a term that is detached or computed without gradients, and for a wrong sign or factor in a backward "
                            "pass of your own; what the method means to leave out is said by @plugin(detaches=\"...\")")
    return f"{len(names)} weights, in {'double' if is_double else 'single'} precision"


@check("objective")
def totals_are_sums(subject: Subject) -> str:
    """`LossOut.total` is a sum over `Batch.count` terms: rows in one batch give what they give in two, and twice the same rows
    give twice as much."""
    scene = _start_or_moved(scene_of(subject))
    rows = scene.rows(7)
    one, other = rows[:3], rows[3:]
    counts = [scene.batch(part).count for part in (one, other, rows, rows + rows)]
    if counts[0] + counts[1] != counts[2] or counts[3] != 2 * counts[2]:
        raise Fault(f"Batch.count of 3, 4, 7 and 14 rows is {counts}: it does not add up", "count the terms that `total` sums: rows, or trained tokens")
    if scene.loss.over == "batch":
        return _over_a_batch(scene, rows)
    totals = [scene.total(part) for part in (one, other, rows, rows + rows)]
    if close(totals[2] * counts[2], (totals[0] * counts[0] + totals[1] * counts[1])) and not close(totals[2], totals[0] + totals[1]):
        raise _mean(totals, counts)
    if close(totals[3], totals[2]) and abs(totals[2]) > 1e-6:
        raise _mean(totals, counts)
    if not close(totals[3], 2 * totals[2]):
        raise Fault(f"the same rows twice give {totals[3]:.6g}, once {totals[2]:.6g}: `total` is no sum over rows",
                    "add up the rows' losses; a row's loss may not depend on which others are in its batch")
    if not close(totals[2], totals[0] + totals[1]):
        raise Fault(f"two batches give {totals[0]:.6g} and {totals[1]:.6g}, their rows in one {totals[2]:.6g}: a row's loss depends on "
                    "the rows beside it", "look for padding that is not masked, rows that attend to each other, or a mean")
    out = scene.out(rows)
    if out.row_losses is not None and not close(float(out.row_losses.sum()), totals[2]):
        raise Fault(f"row_losses add up to {float(out.row_losses.sum()):.6g}, total is {totals[2]:.6g}", "row_losses are sums of each row's terms")
    if out.row_counts is not None and round(float(out.row_counts.sum())) != counts[2]:
        raise Fault(f"row_counts add up to {float(out.row_counts.sum()):g}, Batch.count is {counts[2]}", "both count the same terms")
    return f"{totals[0]:.4g} + {totals[1]:.4g} = {totals[2]:.4g} over {counts[2]} terms"


def _over_a_batch(scene: Scene, rows: list[Row]) -> str:
    """A loss over a batch may depend on which rows are in it, not on their order; and one whose rows count each for itself has
    no reason to say `over = "batch"`, which keeps core from splitting updates."""
    together, turned = scene.total(rows), scene.total(rows[::-1])
    if not close(together, turned):
        raise Fault(f"the rows of a batch give {together:.6g}, in the opposite order {turned:.6g}", "compare each row with all others")
    apart = scene.total(rows[:3]) + scene.total(rows[3:])
    if close(together, apart):
        raise Fault(f"Loss.over is 'batch', and two batches add up to what their rows give in one ({together:.6g})",
                    "leave out over = \"batch\": core then splits an update where memory is short")
    return f"{together:.4g} over a batch of {len(rows)}, {apart:.4g} in two"


@check("objective")
def accumulation_changes_nothing(subject: Subject) -> str:
    """An update of 8 micro-batches of one row is that of 2 of four rows, and so is a last one of 3 rows."""
    found = {}
    for split in (1, 4):
        scene = move(scene_of(subject))
        if scene.loss.over == "batch":
            raise NotApplicable("its loss is over a batch, so that core never splits an update (Loss.over)")
        rows = scene.rows(11)
        optimizer = torch.optim.SGD([{"params": list(scene.trained().values())}], lr=0.1)
        losses = []
        for window in (rows[:8], rows[8:]):
            losses.append(float(scene.update([window[at : at + split] for at in range(0, len(window), split)], optimizer).loss))
        found[split] = (losses, copied(scene.trained()))
    (alone, first), (together, second) = found[1], found[4]
    where, most = apart(first, second)
    for update, pair in enumerate(zip(alone, together, strict=True)):
        if not close(*pair):
            raise Fault(f"update {update + 1} of {(8, 3)[update]} rows has the loss {pair[0]:.6g} with one row at a time and {pair[1]:.6g} with "
                        "four: a mean of means", "give sums and counts; the step divides once (Loss.compute, train_step)")
    if most > 1e-4:
        raise Fault(f"the same update with one row at a time and with four leads to other weights ({where} by {most:.2g})",
                    "give sums and counts; what depends on a whole update belongs in a train_step wrapper, not into compute")
    return f"losses {', '.join(f'{loss:.4g}' for loss in alone)}; weights agree to {most:.1e}"


@check("objective")
def padding_changes_nothing(subject: Subject) -> str:
    """Neither the side of the padding nor how much of it there is changes a loss."""
    left, right = (_start_or_moved(scene_of(subject, side=side)) for side in ("left", "right"))
    rows = sorted(right.rows(8), key=lambda row: len(row["input_ids"]))
    for side, scene in (("left", left), ("right", right)):
        if scene.loss.over == "batch":  # a row alone has another loss
            break
        alone, beside = sum(scene.total([row]) for row in rows), scene.total(rows)
        if not close(alone, beside):
            raise Fault(f"rows padded on the {side} to the longest give {beside:.6g}, without padding {alone:.6g}",
                        "mask the padding: in the attention (attention_mask), in the labels (-100), and where a row's last token is read")
    sides = [_moved(scene).total(rows) for scene in (left, right)]
    if not close(*sides):
        raise Fault(f"the same rows give {sides[0]:.6g} padded on the left and {sides[1]:.6g} on the right",
                    "read tokens by the attention mask, not by their place from either end; see ftp.net.layout.first and last")
    return f"{sides[0]:.5g} on either side, padded or not"


@check("objective")
def packing_changes_nothing(subject: Subject) -> str:
    """Rows laid end to end give what they give padded, and none reads another."""
    scene, padded = _start_or_moved(scene_of(subject, packed=True)), _start_or_moved(scene_of(subject))
    if not scene.model.packed:
        raise NotApplicable("this network cannot take packed rows")
    rows = scene.rows(8)
    together, alone = scene.total(rows), sum(scene.total([row]) for row in rows)
    # over a batch a row alone has another loss: then packed rows are held to padded ones only
    if scene.loss.over == "terms" and not close(together, alone):
        raise Fault(f"rows packed into one line give {together:.6g}, each alone {alone:.6g}: packed rows read each other",
                    "lay them out by ftp.net.layout.lay(packed=model.packed), which keeps them apart")
    totals = _moved(scene).total(rows), _moved(padded).total(rows)
    if not close(*totals):
        raise Fault(f"packed rows give {totals[0]:.6g}, padded ones {totals[1]:.6g}", "lay rows out by ftp.net.layout.lay and read them by its slots")
    laid = scene.batch(rows).inputs.get("row_starts")
    return f"{totals[0]:.5g} either way" + ("" if laid is not None else "; it pads where it could pack")


@check("objective")
def prompts_are_not_learnt(subject: Subject) -> str:
    """Tokens of answers get a gradient, tokens of prompts do not."""
    told = []
    for scene in _answering(subject):
        asked, said = (scene.model.tokenizer.convert_tokens_to_ids(mark) for mark in (written.ASKED, written.SAID))
        learnt = [one.token for one in learnt_tokens(move(scene), scene.rows(6))]
        marks = {scene.model.tokenizer.decode([one]).strip() for one in learnt}
        if asked in learnt or written.ASKED in marks:
            raise Fault(f"tokens of prompts are learnt (of {len(learnt)} learnt tokens {learnt.count(asked)} are the mark of a prompt, on "
                        f"{scene.kind})", "label tokens of the prompt -100, so that the model learns to answer, not to ask")
        if said not in learnt and written.SAID not in marks:
            raise Fault(f"tokens of answers are not learnt, on {scene.kind}", "label the tokens of what the assistant says")
        told.append(f"{len(learnt)} tokens on {scene.kind}")
    return f"{', '.join(told)}, all of answers"


@check("objective")
def tokens_are_told_from_those_before(subject: Subject) -> str:
    """Each learnt token is told from the tokens up to the one right before it: neither from itself, nor with one left out."""
    head = _task(subject)[1]
    if not heads.get(head).writes_text:
        raise NotApplicable(f"no text is continued (head {head})")
    told = []
    for scene in _both(subject):
        learnt = learnt_tokens(move(scene), scene.rows(3), placed=24)
        if wrong := next((one for one in learnt if one.token != one.behind), None):
            token, behind = (None if one is None else scene.model.tokenizer.decode([one]) for one in (wrong.token, wrong.behind))
            raise Fault(f"a learnt token is not the one behind those that it is told from, on {scene.kind}: {token!r}, where "
                        f"{'the row ends' if behind is None else f'{behind!r} comes next'}",
                        "a slot's logits are for the token of the next slot: logits[:, :-1] against labels[:, 1:]")
        told.append(f"{len(learnt)} tokens on {scene.kind}")
    return ", ".join(told)


@check("objective")
def learnt_text_gets_likelier(subject: Subject) -> str:
    """Where the rows are texts to imitate, each learnt token gets likelier, not less likely."""
    form, head = _task(subject)
    if not heads.get(head).is_over_vocabulary or not forms.get(form).is_whole:
        raise NotApplicable(f"rows are more than texts to imitate (form {form}, head {head})")
    scene = move(scene_of(subject))
    learnt = learnt_tokens(scene, scene.rows(6))
    if less := [one.token for one in learnt if not one.likelier]:
        raise Fault(f"{len(less)} of {len(learnt)} learnt tokens get less likely ({scene.model.tokenizer.decode(less[:4])!r} ...)",
                    "look at the sign of `total`: it is minimised")
    return f"{len(learnt)} tokens"


@check("objective")
def ends_are_learnt(subject: Subject) -> str:
    """The token that ends an answer (or a text) is learnt, also where it is the pad token too."""
    form, head = _task(subject)
    if not heads.get(head).writes_text or not (has_answers(form) or forms.get(form).is_whole):
        raise NotApplicable(f"nothing is written that could end (form {form}, head {head})")
    told = []
    for scene in _both(subject):
        ends = _ends(scene)
        rows = scene.rows(6)
        texts = sum(len(row.get("segments") or (0,)) for row in rows)
        number = sum(one.token in ends for one in learnt_tokens(move(scene), rows))
        names = " or ".join(str(name) for name in scene.model.tokenizer.convert_ids_to_tokens(sorted(ends)))
        if number < (texts if has_answers(form) else 1):
            raise Fault(f"{names}, which ends an answer, is learnt {number} times in {texts} texts on {scene.kind}"
                        f"{' (where it is the pad token too)' if scene.model.tokenizer.pad_token_id in ends else ''}: generation would never stop",
                        "put the end into the trained part; mask padding by length, never by `input_ids == pad_token_id`")
        told.append(f"{names} {number} times on {scene.kind}")
    return ", ".join(told)


@check("objective")
def encoder_decoders_too(subject: Subject) -> str:
    """Where an objective on tokens takes a network with an encoder and a decoder as well, what is asked of sums, accumulation,
    padding, prompts and ends holds there too."""
    if not heads.get(_task(subject)[1]).writes_text or fitting(subject) in PAIRED:
        raise NotApplicable("such a network has no head of this kind, or all was looked at on one")
    other = dataclasses.replace(subject, kept={**subject.kept, "kind": {"kind": PAIRED[0], "rollout": False}})
    try:
        scene = build(other, PAIRED[0])
        scene.out(scene.rows(1))
    except UserError as error:
        raise NotApplicable(f"it refuses one: {str(error).splitlines()[0]}") from error
    except Exception as error:  # written for networks with one stack of layers, as most are
        raise NotApplicable(f"it takes none ({type(error).__name__}: {error}); ftp.losses.tokens.refuse_encoder_decoder would tell "
                            "users in words") from error
    told = list[str]()
    for look in (totals_are_sums, accumulation_changes_nothing, padding_changes_nothing, prompts_are_not_learnt, ends_are_learnt,
                 learnt_text_gets_likelier, loss_falls):
        with contextlib.suppress(NotApplicable):
            told.append(look(other))
    if not told:
        raise NotApplicable("the kit's rows are too few")
    return f"{len(told)} looks at a tiny {PAIRED[0]}: {told[-1]}"


@check("objective")
def starts_from_the_reference(subject: Subject) -> str:
    """Where weights are compared with those of before the run, they are the same at first, and no longer after training."""
    scene = scene_of(subject, rolled=False)
    rows = scene.rows(6)
    first = _shown(scene, rows)
    compared = {name: value for name, value in first.items() if "margin" in name or name in ("rewards/chosen", "rewards/rejected", "kl")}
    asked = scene.asked[0] > 0
    if asked and compared:
        wrong = {name: value for name, value in compared.items() if abs(value) > 1e-4}
        if wrong:
            name, value = next(iter(wrong.items()))
            raise Fault(f"{name} is {value:.4g} before the first update, not 0: the reference is not the untouched model, or reads other "
                        "tokens than the model does", "ask `model.reference()` with the same inputs, in evaluation mode, without gradients")
    before = copied(scene.weights())
    _train(scene, rows, updates=4)
    trained = copied(scene.weights())
    then = _shown(scene, rows)
    if compared and not asked and all(abs(value) < 1e-6 for name, value in compared.items() if "margin" in name) \
            and any("margin" in name for name in compared):
        still = all(abs(then[name]) < 1e-6 for name in compared if "margin" in name)
        if still:
            raise Fault("margins are 0 before training, and 0 after it: the reference moves with the model",
                        "compare with `model.reference()`, the weights as they were before the run")
    if not asked:
        raise NotApplicable("it does not ask for the weights of before the run (model.reference)")
    if compared and all(abs(then[name]) < 1e-7 for name in compared):
        raise Fault(f"{', '.join(compared)}: 0 before training, and 0 after it: the reference moves with the model",
                    "compare with `model.reference()`, the weights as they were before the run")
    if (found := apart(trained, copied(scene.weights())))[1]:
        raise Fault(f"after the reference was asked, {found[0]} is another than before", "leave `with model.reference()` before training goes on")
    if apart(before, trained)[1] == 0:
        raise Fault("training moved nothing once the reference was asked", "ask the reference only inside `with model.reference() as net`")
    if not compared:
        raise NotApplicable("it asks for the reference, and shows no rewards/margins, rewards/chosen, rewards/rejected or kl to compare")
    shown = ", ".join(f"{name} {value:.3g} then {then[name]:.3g}" for name, value in compared.items())
    return f"the reference is asked; {shown}"


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


# --- helpers ---


def _task(subject: Subject) -> tuple[str, str]:
    task = subject.prepared().task
    return task.form, task.head


def _train(scene: Scene, rows: Sequence[Row], updates: int) -> None:
    """Some updates as the loop does them, all on the same rows; AdamW without decay, so that only gradients move weights."""
    from ftp.train.seeds import seed_step

    optimizer = torch.optim.AdamW([{"params": list(scene.trained().values())}], lr=2e-3, weight_decay=0.0)
    scene.model.net.train()
    for step in range(updates):
        seed_step(0, step, 0)
        out = scene.update([rows[:5], rows[5:]] if len(rows) > 5 else [rows], optimizer)
        if not math.isfinite(float(out.loss)):
            raise Fault(f"the loss of update {step + 1} is {float(out.loss)}", "look for a logarithm or a division of zero")
    scene.model.net.eval()


def _start_or_moved(scene: Scene) -> Scene:
    """With moved weights, so that nothing is equal by chance. An objective that has a say in the update may take something over
    all of it, so that batches add up at the start alone."""
    return scene if scene.steps_itself else move(scene)


def _moved(scene: Scene) -> Scene:
    """What `_start_or_moved` gave, moved at last."""
    return move(scene) if scene.steps_itself else scene


def _both(subject: Subject) -> list[Scene]:
    """The first model that fits; and for tokens a decoder whose answers end with an EOS that is its pad token too."""
    scenes = [scene_of(subject)]
    if heads.get(_task(subject)[1]).writes_text and scenes[0].kind not in ("gpt2", *PAIRED):
        scenes.append(build(subject, "gpt2", ended=True))
    return scenes


def _answering(subject: Subject) -> list[Scene]:
    form, head = _task(subject)
    if not heads.get(head).writes_text or not has_answers(form):
        raise NotApplicable(f"there are no prompts and answers to tell apart (form {form}, head {head})")
    return _both(subject)


def _ends(scene: Scene) -> set[int]:
    """What may end an answer: the EOS, or whatever token the chat template writes behind it."""
    tokenizer, ends = scene.model.tokenizer, set[int]()
    if tokenizer.eos_token_id is not None:
        ends.add(int(tokenizer.eos_token_id))
    if has_answers(scene.data.form) and tokenizer.chat_template:
        text = tokenizer.apply_chat_template([written.user("a"), written.assistant("b" + written.SAID)], tokenize=False)
        behind = tokenizer(text.rsplit(written.SAID, 1)[-1], add_special_tokens=False)["input_ids"]
        ends |= {int(one) for one in behind[:1]}
    return ends


def _control_tokens(scene: Scene, rows: Sequence[Mapping[str, Any]], is_asked: bool) -> Counter[int]:
    """How often each token stands in the encoded rows."""
    shaped = shape({"train": tables.from_rows(rows)}, scene.data.form)[0]["train"]
    counts = Counter[int]()
    encode = scene.loss.ask if is_asked else scene.loss.encode
    for row in encode(tables.to_rows(shaped)):
        for _, ids in _token_columns(row):
            counts.update(ids)
    return counts


def _token_columns(row: Row) -> list[tuple[str, list[int]]]:
    return [(name, list(value)) for name, value in row.items()
            if (name == "input_ids" or name.endswith("_ids")) and name != "token_type_ids" and isinstance(value, list) and value]


def _shown(scene: Scene, rows: Sequence[Row]) -> dict[str, float]:
    return {name: float(value) / len(rows) for name, value in scene.out(rows).metrics.items()}


def _mean(totals: Sequence[float], counts: Sequence[int]) -> Fault:
    return Fault(f"`total` is a mean, not a sum: batches of {counts[0]}, {counts[1]} and {counts[2]} terms give {totals[0]:.4g}, "
                 f"{totals[1]:.4g} and {totals[2]:.4g}", "add up (reduction='sum'); the step divides once, by the count over all micro-batches and ranks")


def _difference(one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> str:
    if len(one) != len(other):
        return f"{len(one)} rows and {len(other)}"
    for number, (first, second) in enumerate(zip(one, other, strict=True)):
        for name in {*first, *second}:
            if first.get(name) != second.get(name):
                return f"row {number}, column {name}"
    return "no difference"


