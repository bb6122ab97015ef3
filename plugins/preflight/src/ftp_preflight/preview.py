"""Rows as the model sees them: made as a run makes them, shown by rich. Heavy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from operator import ne
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NotRequired, Required, TypedDict

from ftp import Problem, UserError, nearest
from ftp.host import terminal
from ftp_preflight import encoded, targets
from ftp_preflight.hidden_words import crossed_out
from ftp_preflight.lines import Line, lines_of

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset
    from transformers import PreTrainedTokenizerBase

    from ftp.plugins.plan import Prepared
    from ftp.types import Data, Loss, Model, Row, Run

TRAINED = "bold green"
READ_ONLY = "dim"
SPECIAL = "yellow"
WORD_STARTS = ("Ġ", "▁")  # how byte-level BPE and SentencePiece write the blank before a word



class ShownToken(TypedDict):
    """A token as it is shown.

    `trained`: whether it counts in the loss. `target`: what the model is to give in its place.
    """

    id: int
    text: str
    trained: bool
    special: bool
    target: NotRequired[str]


class Numbered(TypedDict, total=False):
    """Where a sequence comes from, and its tokens.

    `part` of `parts`: where the row is several. `cut`: tokens that were cut off.
    """

    row: Required[int]
    tokens: Required[list[ShownToken]]
    cut: Required[int]
    part: int
    parts: int


class ShownRow(Numbered, targets.RowFacts):
    """One sequence of a row, and what is to be learnt of it."""


class Preview(TypedDict):
    """What `ftp data preview` shows of a split."""

    split: str
    rows: list[ShownRow]
    left_out: list[int]
    crossed_out: int
    model: str
    objective: str
    notes: list[str]


def preview_rows(prepared: Prepared, split: str, count: int) -> Preview:
    """The first `count` rows of a split, encoded one by one, as JSON has them.

    `rows`: each with its `tokens` (id, text, trained, and the `target` of one that is to give
    something else: a hidden token, a tag, an end of a span), `label`, `answer` or `side` where it
    has one, `part` and `parts` where a row is several, and `cut` (tokens that were cut off).
    `crossed_out`: how many rows hold words that a plugin of the run hides (identifiers of people,
    see `Run.hidden`); they have an x for each of their letters here.
    """
    # a run keeps things in its folder (a tokenizer of its own), of which a look leaves nothing
    # behind
    with TemporaryDirectory(prefix="ftp-preview-") as folder:
        out = prepared.settings.out or Path(folder)
        return _preview_rows(prepared, split, count, out)


def _preview_rows(prepared: Prepared, split: str, count: int, out: Path) -> Preview:
    from ftp.data import tables
    from ftp.data.collect import collect
    from ftp.folder.log import Log
    from ftp.host.quiet import quiet_libraries
    from ftp.plugins.call import Hooks
    from ftp.risks import as_rows
    from ftp.runs.build import build
    from ftp.train.device import accelerator
    from ftp.types import StartedRun

    quiet_libraries()
    settings = prepared.settings
    log = Log(None, writer=False)
    run = StartedRun(
        settings,
        prepared.task,
        Hooks(prepared.picked, prepared.values),
        out,
        log,
        accelerator(settings, training=False),
    )
    problems: list[Problem] = []
    data = collect(run, problems)
    # what a run says while it reads: spellings of labels, columns and splits that are left out
    reading_notes = [line["message"] for line in log.lines if line["event"] == "told"]
    _require_split(data, split)
    model, loss = build(run, data)

    chosen = _first_rows(data.splits[split], count)
    original = list(chosen)
    safe = [crossed_out(run, row) for row in original]
    if safe != original:
        chosen = tables.from_rows(safe, chosen.features)
    dataset = encoded.encoded(run, loss, chosen)
    kept = []
    if len(dataset):
        kept = [row for row in as_rows(dataset[:]) if row.get("input_ids")]
    model.net.eval()
    shown = _shown_rows(data, model, loss, kept)

    any_trained = any(token["trained"] for row in shown for token in row["tokens"])
    notes = [targets.explanation(data, model.head, any_trained, loss.makes_rows)]
    if any("segments" in row for row in kept):
        notes.append(targets.BLOCKS)
    notes += reading_notes
    notes += warnings(run, data, model)
    notes += [f"ftp run would refuse these rows: {problem}" for problem in problems]
    return {
        "split": split,
        "rows": shown,
        "left_out": sorted(set(range(len(original))) - {row["row"] for row in kept}),
        "crossed_out": sum(map(ne, safe, original)),
        "model": model.name,
        "objective": loss.name,
        "notes": notes,
    }


def _require_split(data: Data, split: str) -> None:
    if split in data.splits:
        return
    splits = ", ".join(data.splits)
    raise UserError(
        f"--split {split}: there is no such split",
        f"{nearest(split, data.splits)} there are: {splits}".strip(),
        f"--split {next(iter(data.splits))}",
    )


def _first_rows(rows: Dataset | IterableDataset, count: int) -> Dataset:
    """The first rows of a split as a data set of their own; those of a stream are stored."""
    from ftp.data import tables

    if not hasattr(rows, "num_rows"):
        rows = tables.from_rows(list(islice(rows, count)))
    return rows.select(range(min(count, len(rows))))


def _shown_rows(
    data: Data, model: Model, loss: Loss, encoded_rows: Sequence[Row]
) -> list[ShownRow]:
    """All sequences of encoded rows, numbered where a row is several."""
    num_parts = Counter(row["row"] for row in encoded_rows)
    num_seen = Counter[int]()
    shown: list[ShownRow] = []
    for row in encoded_rows:
        number = row["row"]
        num_seen[number] += 1
        sequences = _shown(data, model, loss, row)
        if num_parts[number] > 1:
            for sequence in sequences:
                sequence["part"] = num_seen[number]
                sequence["parts"] = num_parts[number]
        shown += sequences
    return shown


def warnings(run: Run, data: Data, model: Model) -> list[str]:
    """What is wrong with how the tokenizer reads the texts of rows."""
    from ftp_preflight import Preflight, vocabulary
    from ftp_preflight.findings import Findings

    findings = Findings()
    vocabulary.look(Preflight(), run, data, model, findings)
    return [f"{problem.level}: {problem.words}" for problem in findings.problems]


# --- tokens ---


def _shown(data: Data, model: Model, loss: Loss, row: Row) -> list[ShownRow]:
    """The sequences of one encoded row (a preference has two)."""
    if not loss.makes_rows:
        lines = lines_of(model, loss.collate([row]))
    else:  # a prompt, which is no batch yet: the model writes what is trained
        ids = tuple(row["input_ids"])
        lines = [Line(ids, (False,) * len(ids), {})]
    shown: list[ShownRow] = []
    for index, line in enumerate(lines):
        wanted = targets.targets_of(data, model.head, row, index, len(lines))
        tokens = _shown_tokens(model, line, wanted)
        cut = int(row.get("cut") or 0)
        numbered = Numbered(row=row["row"], tokens=tokens, cut=cut)
        shown.append({**numbered, **wanted.facts})
    return shown


def _shown_tokens(model: Model, line: Line, wanted: targets.Targets) -> list[ShownToken]:
    tokenizer = model.tokenizer
    tokens: list[ShownToken] = []
    for index, (token_id, text) in enumerate(
        zip(line.ids, texts(tokenizer, line.ids), strict=True)
    ):
        token: ShownToken = {
            "id": token_id,
            "text": text,
            "trained": line.trained[index] or index in wanted.of_token,
            "special": token_id in tokenizer.all_special_ids,
        }
        if index in wanted.of_token:
            token["target"] = wanted.of_token[index]
        elif index in line.hidden:
            token["target"] = texts(tokenizer, [line.hidden[index]])[0].strip()
        tokens.append(token)
    return tokens


def texts(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """Each token as readable text, with the blank before a word that begins with it."""
    pieces = tokenizer.convert_ids_to_tokens(list(ids))
    has_word_starts = any(piece.startswith(WORD_STARTS) for piece in pieces)
    is_wordpiece = not has_word_starts and tokenizer.unk_token is not None
    special = set(tokenizer.all_special_tokens)
    readable = []
    for token_id, piece in zip(ids, pieces, strict=True):
        if piece in special:
            readable.append(piece)
        elif is_wordpiece:  # what does not go on with a word begins one
            readable.append(piece[2:] if piece.startswith("##") else f" {piece}")
        elif piece.startswith(WORD_STARTS):
            readable.append(" " + tokenizer.decode([token_id]).lstrip(" "))
        else:
            readable.append(tokenizer.decode([token_id]))
    return readable


# --- on a terminal ---


def show_rows(preview: Preview) -> None:
    """Print rows: coloured on a terminal, trained tokens in brackets elsewhere."""
    from rich.text import Text

    console = terminal.console(soft_wrap=True)
    has_colour = console.is_terminal and not console.no_color
    for row in preview["rows"]:
        console.print(Text(_headline(preview["split"], row), style="bold" if has_colour else ""))
        if has_colour:
            console.print(Text.assemble(*_coloured(row["tokens"])))
        else:
            console.print(Text("".join(_marked(row["tokens"]))))
        console.print()
    if preview["left_out"]:
        numbers = ", ".join(map(str, preview["left_out"]))
        console.print(Text(f"nothing is learnt of rows {numbers}: they are left out"))
    if preview["crossed_out"]:
        console.print(
            Text(
                f"words of {preview['crossed_out']} rows are crossed out (x) here, as they may "
                "name "
                "people; the model sees them as they are"
            )
        )
    if not has_colour:
        for note in preview["notes"]:
            console.print(Text(note))
        return
    legend = (("trained", TRAINED), "  ", ("read only", READ_ONLY), "  ", ("special", SPECIAL))
    console.print(Text.assemble(*legend))
    for note in preview["notes"]:
        style = TRAINED if "⟦...⟧" in note else ""
        console.print(Text(note.replace("⟦...⟧", "what has this colour", 1), style=style))


def _headline(split: str, row: ShownRow) -> str:
    """What is said of a row before its tokens."""
    num_trained = sum(token["trained"] for token in row["tokens"])
    words = [f"{split} {row['row']}"]
    if "part" in row:
        words.append(f", part {row['part']} of {row['parts']}")
    if "side" in row:
        words.append(f", {row['side']}")
    words.append(f": {len(row['tokens'])} tokens")
    if num_trained:
        words.append(f", {num_trained} trained")
    if row["cut"]:
        words.append(f", {row['cut']} cut off")
    if "label" in row:
        words.append(f", label {row['label']!r}")
    if "answer" in row:
        answer = row["answer"]
        words.append(", no answer" if answer is None else f", answer {answer!r}")
    return "".join(words)


def _with_target(token: ShownToken) -> str:
    """The text of a token, and what it is to give."""
    text: str = token["text"]
    return f"{text}→{token['target']}" if "target" in token else text


def _coloured(tokens: Sequence[ShownToken]) -> Iterator[tuple[str, str]]:
    for token in tokens:
        style = READ_ONLY
        if token["trained"]:
            style = TRAINED
        elif token["special"]:
            style = SPECIAL
        yield _with_target(token), style


def _marked(tokens: Sequence[ShownToken]) -> Iterator[str]:
    """Texts of tokens, with brackets around runs of trained ones."""
    is_inside = False
    for token in tokens:
        if token["trained"] != is_inside:
            yield "⟦" if token["trained"] else "⟧"
            is_inside = token["trained"]
        yield _with_target(token)
    if is_inside:
        yield "⟧"
