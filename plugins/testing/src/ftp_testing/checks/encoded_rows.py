"""Checks of how an objective encodes rows: the contract, the cache, messages and control tokens. Heavy: imports torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from ftp import forms
from ftp.data import control_text, tables
from ftp.data.target_form import shape
from ftp.errors import UserError
from ftp.types import Row
from ftp_testing import rows as written
from ftp_testing import spelt
from ftp_testing.checks.every import other_values
from ftp_testing.objective_scenes import has_answers, scenes_of, task_of, token_columns
from ftp_testing.outcome import Fault, NotApplicable, check
from ftp_testing.scene import Scene, build, fitting, scene_of
from ftp_testing.subject import Subject


@check("objective")
def builds_a_loss(subject: Subject) -> str:
    """On a tiny model that has the head, with rows of the form that the objective wants."""
    try:
        kind = fitting(subject)
    except NotApplicable:
        reason = subject.memory.fit.broken if subject.memory.fit is not None else ""
        raise Fault(f"it builds no loss on any tiny model: {reason}",
                    "mend make_loss; where it needs another kind of network, say so in a UserError") from None
    task = task_of(subject)
    return f"form {task.form}, head {task.head}, on a tiny {kind}"


@check("objective")
def encodes_by_the_contract(subject: Subject) -> str:
    """Encoded rows have token ids, say which row they came from, and come out the same a second time."""
    scene = scene_of(subject)
    rebuilt = scene_of(subject)
    counts = []
    for split in ("train", "validation"):
        rows = scene.encoded(split)
        if not rows:
            raise Fault(f"no row of {split} is left after encoding", "encode gives at least one row of the kit's; see ftp_testing.rows")
        # once more by the same loss, and by one that is made anew
        for again in (scene.encoded(split), rebuilt.encoded(split)):
            if _plain(rows) != _plain(again):
                raise Fault(f"encode gives other rows the second time ({_difference(rows, again)}): encoded rows are cached, so one "
                            "draw would be frozen for ever, and a resumed run would train on other rows",
                            "draw nothing in encode; random masks belong in collate, which the loop seeds by update")
        counts.append(f"{len(rows)} of {split}")
    return f"{' and '.join(counts)} rows, the same each time"


@check("objective")
def key_holds_what_encode_depends_on(subject: Subject) -> str:
    """`Loss.key`, under which encoded rows are cached, changes where an option changes what `encode` gives, and only then."""
    scene = scene_of(subject, rolled=False)
    usual = _plain(scene.encoded())
    if not scene.loss.key:
        raise Fault("Loss.key is empty, so rows encoded for another model or option would be taken from the cache",
                    "key=ftp.data.encode.cache_key(tokenizer, \"name\", VERSION, everything else that encode reads)")
    if scene_of(subject, rolled=False).loss.key != scene.loss.key:
        raise Fault("Loss.key is another one the second time, so nothing would ever come from the cache",
                    "put only what encode depends on into it: no addresses, times or counters")
    # every option of the plugin, and the one of core that all objectives read
    changes: list[tuple[str, dict[str, Any]]] = [("--max-length 24", {"max_length": 24})]
    for option in subject.picked.options:
        for value in other_values(option):
            changes.append((f"{option.flag} {value}", {subject.name: {option.name: value}}))
    tried = []
    for flag, options in changes:
        try:
            other = build(subject, fitting(subject), **options)
            rows = _plain(other.encoded())
        except (UserError, ValueError):  # a value that does not go with these rows or this model
            continue
        tried.append(flag)
        if rows != usual and other.loss.key == scene.loss.key:
            raise Fault(f"with {flag} encode gives other rows ({_difference(usual, rows)}), but Loss.key stays the same: the cache "
                        "would hand out rows of the other setting", "put the option into the key")
    return f"held against {', '.join(tried) or 'nothing: no option could be changed'}"


@check("objective")
def one_beginning(subject: Subject) -> str:
    """No row begins with two beginning-of-text tokens; where the tokenizer writes one, there is exactly one."""
    findings = []
    has_beginning = False
    for scene in scenes_of(subject):
        tokenizer = scene.model.tokenizer
        begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.cls_token_id
        # some tokenizers have a beginning-of-text token and do not write it (GPT-2)
        plain = list(tokenizer("a")["input_ids"])
        if begin is None or plain[0] != begin or len(plain) < 2:
            findings.append(f"the tokenizer of {scene.kind} writes none")
            continue
        has_beginning = True
        for row in scene.encoded():
            texts = len(row.get("segments") or (0,))
            for name, ids in token_columns(row):
                count = ids.count(begin)
                if count > texts or (begin, begin) in pairwise(ids):
                    raise Fault(f"{name} holds the token {tokenizer.convert_ids_to_tokens(begin)} {count} times "
                                f"({tokenizer.decode(ids[:8])!r} ...): a double BOS",
                                "where a chat template writes it, tokenize its text with add_special_tokens=False")
                if count == 0 and name == "input_ids":
                    raise Fault(f"a row begins without {tokenizer.convert_ids_to_tokens(begin)}, which the tokenizer itself writes "
                                f"({tokenizer.decode(ids[:8])!r} ...)", "the model was trained with it: add it once")
        findings.append(f"one a text on {scene.kind}")
    if not has_beginning:
        raise NotApplicable("; ".join(findings))
    return "; ".join(findings)


@check("objective")
def messages_are_kept_whole(subject: Subject) -> str:
    """Each field of a message (calls of tools, names, reasoning, parts), and a row's tools, reaches the tokens where the chat
    template writes it, or the row is refused by the field's name."""
    form = task_of(subject).form
    if not forms.get(form).has_messages:
        raise NotApplicable(f"it reads no messages (form {form})")
    scene = scene_of(subject, template=spelt.EVERY_FIELD)
    num_kept = 0
    refused: list[str] = []
    too_long: list[str] = []
    lost: list[str] = []
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
        elif _holds_word(scene, encoded, case.word):
            num_kept += 1
        else:
            lost.append(name)
    if lost:
        raise Fault(f"the chat template writes {lost[0]}, and no token of the row says it (lost in all: {', '.join(lost)})",
                    "encode whole messages by ftp.losses.conversations, or refuse rows by the field that you do not read (UserError)")
    findings = [f"{num_kept} fields reach the tokens"]
    if refused:
        findings.append(f"{len(refused)} are refused ({', '.join(refused)})")
    if too_long:
        findings.append(f"{len(too_long)} are left out ({', '.join(too_long)})")
    return "; ".join(findings)


def _holds_word(scene: Scene, rows: Sequence[Row], word: str) -> bool:
    """Whether any column of tokens says a word; tokenizers of word pieces part words by blanks."""
    for row in rows:
        for _, ids in token_columns(row):
            if word in scene.model.tokenizer.decode(ids).replace(" ", ""):
                return True
    return False


@check("objective")
def control_text_stays_text(subject: Subject) -> str:
    """A control token that a text spells (`</s>`) stays text, in training as where a finished model is asked."""
    form = task_of(subject).form
    findings = []
    for scene in scenes_of(subject):
        tokenizer = scene.model.tokenizer
        controls = control_text.of_run(scene.run, tokenizer).controls
        rows = written.rows(form, count=6)
        # the rows of a preference or a rating are not asked as they are
        is_answered = scene.loss.has_answers and has_answers(form) and forms.get(form).is_whole
        for is_asked in (False, True) if is_answered else (False,):
            plain = _count_tokens(scene, [spelt.spelling(row, "x") for row in rows], is_asked)
            for control in controls:
                counts = _count_tokens(scene, [spelt.spelling(row, control) for row in rows], is_asked)
                token = tokenizer.convert_tokens_to_ids(control)
                # objectives that lay texts end to end may drop the last few, with the ends that are theirs
                if token != tokenizer.unk_token_id and counts[token] > plain[token] + len(rows):
                    raise Fault(f"{control} in a text becomes the control token ({counts[token]} times in {len(rows)} rows, "
                                f"{plain[token]} without it), on {scene.kind}: a text can end its turn and begin another",
                                "tokenise texts by ftp.data.control_text.of_run(run, tokenizer), messages by ftp.losses.conversations")
        findings.append(f"{', '.join(controls)} on {scene.kind}")
    return "; ".join(findings)


def _count_tokens(scene: Scene, rows: Sequence[Row], is_asked: bool) -> Counter[int]:
    """How often each token stands in the encoded rows."""
    shaped = shape({"train": tables.from_rows(rows)}, scene.data.form)[0]["train"]
    encode = scene.loss.ask if is_asked else scene.loss.encode
    counts = Counter[int]()
    for row in encode(tables.to_rows(shaped)):
        for _, ids in token_columns(row):
            counts.update(ids)
    return counts


def _plain(rows: Sequence[Row]) -> list[dict[str, object]]:
    return [dict(row) for row in rows]


def _difference(rows: Sequence[Mapping[str, object]], others: Sequence[Mapping[str, object]]) -> str:
    """Where rows first differ."""
    if len(rows) != len(others):
        return f"{len(rows)} rows and {len(others)}"
    for row_index, (row, other) in enumerate(zip(rows, others, strict=True)):
        for name in {*row, *other}:
            if row.get(name) != other.get(name):
                return f"row {row_index}, column {name}"
    return "no difference"
