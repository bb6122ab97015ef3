"""Which columns of a file could be meant where ours are missing: by their names, else by what they hold."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeGuard

from ftp import forms
from ftp.forms import catalogue

if TYPE_CHECKING:
    from ftp.data.row_types import Rows

SAMPLE = 200  # rows that are looked at
MOST_CLASSES = 50
PARTS = re.compile(r"[\W_]+")  # what parts the words of a column's name
CLOSE = 0.75  # of difflib's ratio, between two names
TWINS = (("1", "2"), ("a", "b"), ("first", "second"), ("left", "right"))
"""How the names of two columns end that are alike but for this, as `question1` and `question2`."""

NAMES: Mapping[str, tuple[str, ...]] = {
    "text": ("review", "content", "body", "comment", "message", "tweet", "document", "utterance", "post", "description",
             "abstract", "article", "input", "query", "prompt"),
    "text_pair": ("text2", "sentence_b", "second", "b"),
    "label": ("label_name", "sentiment", "category", "class", "target", "intent", "topic", "emotion", "rating", "stars", "score",
              "y", "tag", "labels", "gold", "output", "answer"),
    "tokens": ("words", "token", "sentence", "text"),
    "tags": ("ner", "labels", "label", "tag", "pos", "entities", "bio"),
    "question": ("query", "q", "ask", "prompt"),
    "context": ("passage", "paragraph", "document", "article", "text", "background"),
    "answers": ("answer", "label", "gold"),
    "messages": ("conversation", "dialog", "dialogue", "chat", "turns", "history"),
    "conversations": ("conversation", "dialog", "dialogue", "chat", "turns"),
    "prompt": ("instruction", "query", "question", "input", "request", "text"),
    "completion": ("response", "output", "answer", "reply", "target", "summary", "chosen"),
    "instruction": ("prompt", "query", "task", "request"),
    "output": ("response", "answer", "completion", "reply", "target"),
    "answer": ("response", "output", "completion", "reply", "target"),
    "chosen": ("preferred", "better", "winner", "accepted", "positive", "response_chosen", "good"),
    "rejected": ("dispreferred", "worse", "loser", "refused", "negative", "response_rejected", "bad"),
}  # fmt: skip
"""Names under which our columns are met, the likeliest first."""

Values = Sequence[object]
"""Some values of a column, none of them missing."""


def _are_all(values: Values, is_fit: Callable[[object], bool]) -> bool:
    """Whether there are values, and each is as it is to be."""
    return bool(values) and all(map(is_fit, values))


def _is_text(values: Values) -> TypeGuard[Sequence[str]]:
    return _are_all(values, lambda value: isinstance(value, str))


def _is_class(values: Values) -> bool:
    if not _are_all(values, lambda value: isinstance(value, str | int)):
        return False
    return 2 <= len(set(values)) <= max(2, min(MOST_CLASSES, len(values) // 2))


def _is_words(values: Values) -> bool:
    return _are_all(values, lambda value: isinstance(value, list) and bool(value) and isinstance(value[0], str | int))


def _is_messages(values: Values) -> bool:
    return _are_all(values, lambda value: isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _is_turn(values: Values) -> bool:
    return _is_text(values) or _is_messages(values)


def _is_classes(values: Values) -> bool:
    if _are_all(values, lambda value: isinstance(value, list)):
        # a row may have no class, but not all rows
        return _are_all(list(chain.from_iterable(values)), lambda item: isinstance(item, str | int))  # type: ignore[arg-type]
    return (_is_text(values) and any("|" in value for value in values))


def _is_numbers(values: Values) -> bool:
    return _are_all(values, lambda value: isinstance(value, int | float) and not isinstance(value, bool))


def _is_vector(values: Values) -> bool:
    return _are_all(values, lambda value: isinstance(value, list) and _is_numbers(value))


def _is_answers(values: Values) -> bool:
    return _are_all(values, lambda value: isinstance(value, dict) and {"text", "answer_start"} <= value.keys())


FITS: Mapping[str, Callable[[Values], bool]] = {
    "label": _is_class, "tokens": _is_words, "tags": _is_words, "answers": _is_answers, "messages": _is_messages,
    "conversations": _is_messages, "chosen": _is_turn, "rejected": _is_turn, "prompt": _is_turn, "completion": _is_turn,
}  # fmt: skip
"""What a column of core's forms must hold to be taken for ours."""

FITS_KIND: Mapping[forms.ColumnKind, Callable[[Values], bool]] = {
    "texts": _is_words, "tokens": _is_words, "tags": _is_words, "classes": _is_classes, "class": _is_class,
    "messages": _is_turn, "answers": _is_answers, "number": _is_numbers, "vector": _is_vector,
}  # fmt: skip
"""What a column of a kind must hold; text where nothing is said."""


def _fits(ours: str) -> Callable[[Values], bool]:
    """The test for the values of a column that could be ours."""
    kind = forms.kind_of(ours)
    if ours in FITS or kind is None:
        return FITS.get(ours, _is_text)
    return FITS_KIND.get(kind, _is_text)


def columns_meant(rows: Rows, form: str) -> dict[str, str]:
    """Our column -> the column that could be meant, such that rows can be read as the form; empty where none could.

    Args:
        rows: a data set or a stream.
    """
    have = list(rows.column_names or ())
    sample = _sample(rows)
    best: dict[str, str] = {}
    for wanted in forms.get(form).sets:
        meant = _meant(wanted, have, sample)
        if meant and (not best or len(meant) < len(best)):
            best = meant
    # A text beside an instruction is what it is about (Dolly's context).
    has_context = _is_text(sample.get("context", ())) and "context" not in best.values()
    if "instruction" in (*have, *best) and "input" not in have and has_context:
        return {**best, "input": "context"}
    return with_second_text(rows, form, _twins_in_order(best, have))


def with_second_text(rows: Rows, form: str, meant: Mapping[str, str]) -> dict[str, str]:
    """`meant` with both texts where its text is one of two columns that are alike, as `question1` and `question2`: mapped
    alone, a model would read half of each row.

    Args:
        rows: a data set or a stream.
        form: the name of the form that rows are to be read as.
        meant: our column -> the column that could be meant.
    """
    ours = forms.TEXT_COLUMN.name
    ours_second = forms.TEXT_PAIR_COLUMN.name
    have = list(rows.column_names or ())
    names_of_second = {ours_second, *forms.other_names(ours_second)}
    if ours not in meant or forms.get(form).column(ours_second) is None or not names_of_second.isdisjoint(have):
        return {**meant}
    twins = _twins(meant[ours], have)
    sample = _sample(rows) if twins else {}
    if twins and all(_is_text(sample.get(name, ())) and _is_mappable(name) for name in twins):
        return {**meant, ours: twins[0], ours_second: twins[1]}
    return {**meant}


def _twins_in_order(meant: Mapping[str, str], have: Sequence[str]) -> dict[str, str]:
    """`meant` with two columns that are alike in the order of their names, whichever holds the longer texts."""
    theirs = list(meant.values())
    for name in meant.values():
        twins = _twins(name, have)
        if twins and set(twins) <= set(theirs):
            places = sorted(theirs.index(twin) for twin in twins)
            theirs[places[0]], theirs[places[1]] = twins
    return dict(zip(meant, theirs, strict=True))


def _twins(name: str, have: Sequence[str]) -> tuple[str, str] | None:
    """The two columns that are alike but for the end of their names, of which this is one; None where it has no other."""
    for endings in TWINS:
        for ending in endings:
            stem = name.removesuffix(ending)
            twins = (stem + endings[0], stem + endings[1])
            if stem != name and set(twins) <= set(have):
                return twins
    return None


def header_lacking(rows: Rows, form: str) -> str:
    """The header that a file probably lacks, as `text,label`; empty where the names of its columns may well be names.

    Names that are no names come from the first row: a class that other rows have too, beside a text of several words.
    """
    have = list(rows.column_names or ())
    sample = _sample(rows)
    is_class_a_name = False
    is_text_a_name = False
    for name in have:
        values = sample.get(name, ())
        if _is_class(values) and name in map(str, values):
            is_class_a_name = True
        elif _is_text(values) and len(name.split()) > 1:
            is_text_a_name = True
    # One alone may be chance: a class called like its column, a name of several words.
    if not (is_class_a_name and is_text_a_name):
        return ""
    header = [f"column_{index}" for index in range(len(have))]
    for ours, theirs in columns_meant(rows, form).items():
        header[have.index(theirs)] = ours
    return ",".join(header)


def column_meant(rows: Rows, ours: str, taken: Iterable[str] = ()) -> str:
    """The one column that could be meant by ours; empty where none could."""
    have = [name for name in rows.column_names or () if name not in set(taken)]
    for name in (ours, *forms.other_names(ours)):
        if name in have:
            return name
    return _meant([ours], have, _sample(rows)).get(ours, "")


def _sample(rows: Rows) -> dict[str, list[object]]:
    """Column -> its values in the first rows, those that are missing aside."""
    values: dict[str, list[object]] = {}
    for row in islice(rows, SAMPLE):
        for name, value in row.items():
            if value is not None:
                values.setdefault(name, []).append(value)
    return values


def _meant(wanted: Iterable[str], have: Sequence[str], sample: Mapping[str, Values]) -> dict[str, str]:
    """The columns meant by those of `wanted` that are missing; empty where one of them has none."""
    lacking: list[str] = []
    taken: set[str] = set()
    # A column that is there under any name is no candidate for another one.
    for ours in wanted:
        names = {ours, *forms.other_names(ours)}
        if names.isdisjoint(have):
            lacking.append(ours)
        taken |= names
    meant: dict[str, str] = {}
    for by_name in (True, False):  # names say more than values: all columns are looked for by name first
        for ours in lacking:
            if ours in meant:
                continue
            fits = _fits(ours)
            free = [name for name in have if name not in taken and _is_mappable(name) and fits(sample.get(name, ()))]
            name = _by_name(ours, free) if by_name else _by_values(ours, free, sample)
            if name:
                meant[ours] = name
                taken.add(name)
    if len(meant) < len(lacking):
        return {}
    return {ours: meant[ours] for ours in lacking}


def _is_mappable(name: str) -> bool:
    """Whether `--columns` can say the name: commas part its pairs."""
    return "," not in name and name == name.strip()


def _by_name(ours: str, free: Sequence[str]) -> str:
    """The free column whose name is one of ours, close to one, or holds one."""
    names = (ours, *NAMES.get(ours, ()), *catalogue.likely_names(ours))
    by_small = {name.lower(): name for name in free}
    for name in names:
        if name in by_small:
            return by_small[name]
    for name in names:
        close = difflib.get_close_matches(name, by_small, n=1, cutoff=CLOSE)
        if close:
            return by_small[close[0]]
    return next((name for name in free if not set(PARTS.split(name.lower())).isdisjoint(names)), "")


def _by_values(ours: str, free: Sequence[str], sample: Mapping[str, Values]) -> str:
    """The free column that holds most text, fewest classes, or what only one column holds."""
    if not free:
        return ""
    if ours == "label":  # the one with the fewest classes; words rather than numbers
        return min(free, key=lambda name: (len(set(sample[name])), not isinstance(sample[name][0], str)))
    fits = _fits(ours)
    if fits in (_is_text, _is_turn):
        # words that come again and again are classes, as the subject of a question: no text, and no answer
        free = [name for name in free if not _is_repeated(sample[name])]
    if fits is _is_text:
        return max(free, key=lambda name: _mean_length(sample[name]), default="")
    return free[0] if len(free) == 1 else ""


def _mean_length(values: Values) -> float:
    """Characters of a text, on average."""
    return sum(len(str(value)) for value in values) / len(values)


def _is_repeated(values: Values) -> bool:
    return _is_text(values) and 2 * len(set(values)) <= len(values)


def columns_option(mapped: Mapping[str, str], meant: Mapping[str, str]) -> str:
    """`--columns` with the columns that are mapped already and those that could be meant; empty where there are none."""
    if not meant:
        return ""
    pairs: dict[str, str] = {**mapped}
    for ours, theirs in meant.items():
        if theirs in pairs:  # a name that a mapping gave it: the column is mapped to ours instead
            pairs[ours] = pairs.pop(theirs)
            continue
        original = theirs.removesuffix("_original")  # our name, freed by a mapping
        pairs[ours] = original if original in mapped and theirs != original else theirs
    return "--columns " + shlex.quote(",".join(f"{ours}={theirs}" for ours, theirs in pairs.items()))
