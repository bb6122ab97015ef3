"""Rows as the model sees them: made as a run makes them, shown by rich. Heavy."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

from ftp import terminal
from ftp.errors import UserError, nearest
from ftp_preflight import encoded

if TYPE_CHECKING:
    from ftp.plan import Prepared
    from ftp.types import Data, Model, Row, Run

STYLES = {True: "bold green", False: "dim"}
SPECIAL = "yellow"


def rows(prepared: Prepared, split: str, count: int) -> dict[str, Any]:
    """The first `count` rows of a split, encoded one by one: `rows`, each with its `tokens` (id, text, trained, and the `target`
    of a hidden one), `label` where it has one, and `cut` (tokens that were cut off). `crossed_out`: how many rows hold words
    that a plugin of the run hides (identifiers of people, see `Run.hidden`); they have an x for each of their letters here."""
    from datasets import Dataset

    from ftp import app
    from ftp.data.source import as_rows
    from ftp.device import accelerator
    from ftp.plugins import Hooks
    from ftp.record import Log
    from ftp.types import Run

    app.quiet_libraries()
    settings = prepared.settings
    run = Run(settings, prepared.task, Hooks(prepared.picked, prepared.values), accelerator(settings, training=False),
              settings.out, Log(None, writer=False))
    data = app.collect(run)
    if split not in data.splits:
        raise UserError(f"--split {split}: there is no such split", f"{nearest(split, data.splits)} there are: "
                        f"{', '.join(data.splits)}".strip())
    model, loss = app.build(run, data)
    if loss.rollout is not None:
        raise UserError(f"{loss.name or 'this objective'} makes its own rows from the model: there are none to show")
    whole: Any = data.splits[split]
    if not hasattr(whole, "num_rows"):
        from itertools import islice

        whole = Dataset.from_list(list(islice(whole, count)))
    part = whole.select(range(min(count, len(whole))))
    asked = list(part)
    safe = [crossed_out(run, row) for row in asked]
    made = encoded.encoded(run, loss, part if safe == asked else Dataset.from_list(safe, features=part.features))
    kept = [row for row in as_rows(made[:]) if row.get("input_ids")] if len(made) else []
    model.net.eval()
    shown = [_shown(data, model, loss, row) for row in kept]
    without = sorted(set(range(len(asked))) - {row["row"] for row in kept})
    return {"split": split, "rows": [one for several in shown for one in several], "left_out": without,
            "crossed_out": sum(one != row for one, row in zip(safe, asked, strict=True)),
            "model": model.name, "objective": loss.name}


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


def _shown(data: Data, model: Model, loss: Any, row: Row) -> list[dict[str, Any]]:
    """The sequences of one encoded row (a preference has two)."""
    found = []
    places = dict(zip(row.get("places") or (), row.get("tags") or (), strict=False)) if row.get("places") else {}
    for line in encoded.lines(model, loss.collate([row])):
        tokens = []
        for place, (number, text) in enumerate(zip(line.ids, texts(model.tokenizer, line.ids), strict=True)):
            token: dict[str, Any] = {"id": number, "text": text, "trained": line.trained[place] or place in places,
                                     "special": number in model.tokenizer.all_special_ids}
            if place in line.hidden:
                token["target"] = texts(model.tokenizer, [line.hidden[place]])[0].strip()
            elif place in places:
                token["target"] = data.labels[places[place]]
            tokens.append(token)
        one: dict[str, Any] = {"row": row["row"], "tokens": tokens, "cut": int(row.get("cut") or 0)}
        if isinstance(row.get("label"), int) and data.labels:
            one["label"] = data.labels[row["label"]] if 0 <= row["label"] < len(data.labels) else row["label"]
        found.append(one)
    return found


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
        trained = sum(token["trained"] for token in one["tokens"])
        head = f"{found['split']} {one['row']}: {len(one['tokens'])} tokens" + (f", {trained} trained" if trained else "")
        head += f", {one['cut']} cut off" if one["cut"] else ""
        head += f", label {one['label']!r}" if "label" in one else ""
        console.print(Text(head, style="bold" if colour else ""))
        console.print(Text.assemble(*_coloured(one["tokens"])) if colour else Text("".join(_marked(one["tokens"]))))
        console.print()
    if found["left_out"]:
        console.print(Text(f"nothing is learnt of rows {', '.join(map(str, found['left_out']))}: they are left out"))
    if found["crossed_out"]:
        console.print(Text(f"words of {found['crossed_out']} rows are crossed out (x) here, as they may name people; the model "
                           "sees them as they are"))
    if not any(token["trained"] for one in found["rows"] for token in one["tokens"]):
        console.print(Text("no single token is trained: the row as a whole is"))
    elif colour:
        console.print(Text.assemble(("trained", STYLES[True]), "  ", ("read only", STYLES[False]), "  ", ("special", SPECIAL)))
    else:
        console.print(Text("⟦...⟧ is trained"))


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
