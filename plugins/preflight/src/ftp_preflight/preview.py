"""Rows as the model sees them: made as a run makes them, shown by rich. Heavy."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ftp.errors import Problem, UserError, nearest
from ftp.host import terminal
from ftp_preflight import encoded, targets

if TYPE_CHECKING:
    from ftp.plugins.plan import Prepared
    from ftp.types import Data, Loss, Model, Row, Run

STYLES = {True: "bold green", False: "dim"}
SPECIAL = "yellow"


def rows(prepared: Prepared, split: str, count: int) -> dict[str, Any]:
    """The first `count` rows of a split, encoded one by one: `rows`, each with its `tokens` (id, text, trained, and the `target`
    of one that is to give something else: a hidden token, a tag, an end of a span), `label`, `answer` or `side` where it has one,
    `part` and `parts` where a row is several, and `cut` (tokens that were cut off). `crossed_out`: how many rows hold words
    that a plugin of the run hides (identifiers of people, see `Run.hidden`); they have an x for each of their letters here."""
    # a run keeps things in its folder (a tokenizer of its own), of which a look leaves nothing behind
    with TemporaryDirectory(prefix="ftp-preview-") as folder:
        return _rows(prepared, split, count, prepared.settings.out or Path(folder))


def _rows(prepared: Prepared, split: str, count: int, out: Path) -> dict[str, Any]:
    from ftp.data import tables
    from ftp.data.collect import collect
    from ftp.data.updates import as_rows
    from ftp.folder.log import Log
    from ftp.host.quiet import quiet_libraries
    from ftp.plugins.call import Hooks
    from ftp.runs.build import build
    from ftp.train.device import accelerator
    from ftp.types import StartedRun

    quiet_libraries()
    settings = prepared.settings
    log = Log(None, writer=False)
    run = StartedRun(settings, prepared.task, Hooks(prepared.picked, prepared.values), out, log,
                     accelerator(settings, training=False))
    refused: list[Problem] = []
    data = collect(run, refused)
    # What a run tells while it reads: spellings of labels, columns and splits that are left out.
    reading_notes = [line["message"] for line in log.lines if line["event"] == "told"]
    if split not in data.splits:
        raise UserError(f"--split {split}: there is no such split", f"{nearest(split, data.splits)} there are: "
                        f"{', '.join(data.splits)}".strip(), f"--split {next(iter(data.splits))}")
    model, loss = build(run, data)
    whole: Any = data.splits[split]
    if not hasattr(whole, "num_rows"):
        from itertools import islice

        whole = tables.from_rows(list(islice(whole, count)))
    part = whole.select(range(min(count, len(whole))))
    asked = list(part)
    safe = [crossed_out(run, row) for row in asked]
    made = encoded.encoded(run, loss, part if safe == asked else tables.from_rows(safe, part.features))
    kept = [row for row in as_rows(made[:]) if row.get("input_ids")] if len(made) else []
    model.net.eval()
    parts = Counter(row["row"] for row in kept)
    seen = Counter[int]()
    shown = list[dict[str, Any]]()
    for row in kept:
        seen[row["row"]] += 1
        of_many = {"part": seen[row["row"]], "parts": parts[row["row"]]} if parts[row["row"]] > 1 else {}
        shown += [{**sequence, **of_many} for sequence in _shown(data, model, loss, row)]
    any_trained = any(token["trained"] for row in shown for token in row["tokens"])
    notes = [targets.explanation(data, model.head, any_trained, loss.makes_rows)]
    if any("segments" in row for row in kept):
        notes.append(targets.BLOCKS)
    notes += reading_notes
    notes += warnings(run, data, model)
    notes += [f"ftp run would refuse these rows: {problem}" for problem in refused]
    without = sorted(set(range(len(asked))) - {row["row"] for row in kept})
    return {"split": split, "rows": shown, "left_out": without,
            "crossed_out": sum(one != row for one, row in zip(safe, asked, strict=True)),
            "model": model.name, "objective": loss.name, "notes": notes}


def warnings(run: Run, data: Data, model: Model) -> list[str]:
    """What is wrong with how the tokenizer reads the texts of rows."""
    from ftp_preflight import Preflight, vocabulary
    from ftp_preflight.findings import Findings

    found = Findings()
    vocabulary.look(Preflight(), run, data, model, found)
    return [f"{level}: {words}" for level, words, _ in found.said]


def crossed_out(run: Run, row: Any) -> Any:
    """A row with an x for each letter of the words that plugins of the run hide, so that all places in it stay what they were."""
    if isinstance(row, str):
        words, left = re.split(r"(\s+)", row), re.split(r"(\s+)", run.hidden(row))
        kept = {n for block in SequenceMatcher(None, words, left, autojunk=False).get_matching_blocks()
                for n in range(block.a, block.a + block.size)}
        return "".join(word if n in kept else re.sub(r"\S", "x", word) for n, word in enumerate(words))
    if isinstance(row, list):
        return [crossed_out(run, one) for one in row]
    if not isinstance(row, Mapping):
        return row
    made = {name: crossed_out(run, value) for name, value in row.items()}
    if isinstance(answers := made.get("answers"), Mapping) and isinstance(made.get("context"), str):
        made["answers"] = {**answers, "text": [  # an answer is crossed out as it is at its place
            made["context"][start : start + len(text)] if row["context"].startswith(text, start) else text
            for start, text in zip(answers["answer_start"], row["answers"]["text"], strict=True)]}
    return made


def _shown(data: Data, model: Model, loss: Loss, row: Row) -> list[dict[str, Any]]:
    """The sequences of one encoded row (a preference has two)."""
    if not loss.makes_rows:
        lines = encoded.lines(model, loss.collate([row]))
    else:  # a prompt, which is no batch yet: the model writes what is trained
        ids = tuple(row["input_ids"])
        lines = [encoded.Line(ids, (False,) * len(ids), {})]
    shown = []
    for sequence, line in enumerate(lines):
        wanted = targets.targets_of(data, model.head, row, sequence, len(lines))
        tokens = []
        for place, (number, text) in enumerate(zip(line.ids, texts(model.tokenizer, line.ids), strict=True)):
            is_trained = line.trained[place] or place in wanted.of_token
            token: dict[str, Any] = {"id": number, "text": text, "trained": is_trained,
                                     "special": number in model.tokenizer.all_special_ids}
            if place in wanted.of_token:
                token["target"] = wanted.of_token[place]
            elif place in line.hidden:
                token["target"] = texts(model.tokenizer, [line.hidden[place]])[0].strip()
            tokens.append(token)
        shown.append({"row": row["row"], "tokens": tokens, "cut": int(row.get("cut") or 0), **wanted.facts})
    return shown


def texts(tokenizer: Any, ids: Any) -> list[str]:
    """Each token as readable text, with the blank before a word that begins with it."""
    pieces = tokenizer.convert_ids_to_tokens(list(ids))
    words = not any(one.startswith(("Ġ", "▁")) for one in pieces) and tokenizer.unk_token is not None
    special = set(tokenizer.all_special_tokens)
    found = []
    for number, piece in zip(ids, pieces, strict=True):
        if piece in special:
            found.append(piece)
        elif words:  # word pieces: what does not go on with a word begins one
            found.append(piece[2:] if piece.startswith("##") else f" {piece}")
        elif piece.startswith(("Ġ", "▁")):
            found.append(" " + tokenizer.decode([number]).lstrip(" "))
        else:
            found.append(tokenizer.decode([number]))
    return found


def show(found: Mapping[str, Any]) -> None:
    """Print rows: coloured on a terminal, trained tokens in brackets elsewhere."""
    from rich.text import Text

    console = terminal.console(soft_wrap=True)
    colour = console.is_terminal and not console.no_color
    for one in found["rows"]:
        head = _headline(found["split"], one)
        console.print(Text(head, style="bold" if colour else ""))
        console.print(Text.assemble(*_coloured(one["tokens"])) if colour else Text("".join(_marked(one["tokens"]))))
        console.print()
    if found["left_out"]:
        console.print(Text(f"nothing is learnt of rows {', '.join(map(str, found['left_out']))}: they are left out"))
    if found["crossed_out"]:
        console.print(Text(f"words of {found['crossed_out']} rows are crossed out (x) here, as they may name people; the model "
                           "sees them as they are"))
    if colour:
        console.print(Text.assemble(("trained", STYLES[True]), "  ", ("read only", STYLES[False]), "  ", ("special", SPECIAL)))
    for note in found["notes"]:
        console.print(Text(note.replace("⟦...⟧", "what has this colour", 1) if colour else note,
                           style=STYLES[True] if colour and "⟦...⟧" in note else ""))


def _headline(split: str, row: Mapping[str, Any]) -> str:
    """What is said of a row before its tokens."""
    trained = sum(token["trained"] for token in row["tokens"])
    line = f"{split} {row['row']}"
    line += f", part {row['part']} of {row['parts']}" if "part" in row else ""
    line += f", {row['side']}" if "side" in row else ""
    line += f": {len(row['tokens'])} tokens"
    line += f", {trained} trained" if trained else ""
    line += f", {row['cut']} cut off" if row["cut"] else ""
    line += f", label {row['label']!r}" if "label" in row else ""
    if "answer" in row:
        line += f", answer {row['answer']!r}" if row["answer"] is not None else ", no answer"
    return line


def _coloured(tokens: Any) -> Iterator[tuple[str, str]]:
    for token in tokens:
        style = STYLES[True] if token["trained"] else SPECIAL if token["special"] else STYLES[False]
        yield token["text"] + (f"→{token['target']}" if "target" in token else ""), style


def _marked(tokens: Any) -> Iterator[str]:
    inside = False
    for token in tokens:
        if token["trained"] != inside:
            yield "⟦" if token["trained"] else "⟧"
            inside = token["trained"]
        yield token["text"] + (f"→{token['target']}" if "target" in token else "")
    if inside:
        yield "⟧"
