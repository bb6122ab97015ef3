"""Options: types, bounds, recipes, and every mistake told at once."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

import pytest

from ftp import UserError, option, plugin
from ftp.options import convert, flatten, options_of, read_recipe, resolve, write_recipe
from ftp.plugins.fit import core_options


@plugin
class Many:
    """Has one option of each type."""

    count: int = option(1, "a count", low=1, high=9)
    rate: float = option(0.5, "a rate", low=0)
    word: Literal["a", "b"] = option("a", "a word")
    on: bool = option(False, "a switch")
    names: tuple[str, ...] = option((), "names")
    place: Path | None = option(None, "a place")
    either: int | str = option("auto", "a number or a word")


TABLE = {item.name: item for item in options_of(Many, "many")}


@pytest.mark.parametrize(("name", "raw", "expected"), [
    ("count", "3", 3), ("count", 3.0, 3), ("rate", "1e-5", 1e-5), ("rate", 2, 2.0), ("word", "b", "b"), ("on", "yes", True),
    ("on", "off", False), ("on", True, True), ("names", "x, y", ("x", "y")), ("names", ["x"], ("x",)), ("place", "none", None),
    ("place", "x/y", Path("x/y")), ("either", "7", 7), ("either", "auto", "auto"),
])
def test_words_become_values(name: str, raw: Any, expected: Any) -> None:
    value, problem = convert(TABLE[name], raw)
    assert problem is None
    assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize(("name", "raw", "message"), [
    ("count", "x", "not a whole number"), ("count", "2.5", "not a whole number"), ("count", True, "not a whole number"),
    ("count", "10", "out of range"), ("rate", "-1", "out of range"), ("rate", "nan", "not a finite number"),
    ("rate", "inf", "not a finite number"), ("count", "inf", "not a whole number"), ("count", "1e999", "not a whole number"),
    ("word", "aa", "unknown value"), ("on", "maybe", "not yes or no"), ("names", 3, "not a list of text"),
])
def test_bad_values_say_what_would_be_right(name: str, raw: Any, message: str) -> None:
    _, problem = convert(TABLE[name], raw)
    assert problem is not None
    assert message in problem.what and f"--many.{name}" in problem.what


def test_bounds_are_in_the_message() -> None:
    _, problem = convert(TABLE["count"], 0)
    assert problem is not None and problem.fix == "a whole number from 1 to 9"


def test_all_mistakes_of_all_sources_at_once() -> None:
    sources = [("a.toml", {"many.cuont": 3, "lora.r": 8}), ("flags", {"many.count": "0", "many.word": "c"})]
    with pytest.raises(UserError) as caught:
        resolve(TABLE.values(), sources, installed=["lora"])
    text = str(caught.value)
    assert len(caught.value.problems) == 4
    assert "a.toml: many.cuont: no such option" in text and "--many.count" in text
    assert "plugin 'lora' is not in this run" in text


def test_later_sources_count_more_and_origin_is_known() -> None:
    values, origin = resolve(TABLE.values(), [("file", {"many.count": 2, "many.rate": 3}), ("flags", {"many.count": "4"})])
    assert (values["many.count"], values["many.rate"], values["many.word"]) == (4, 3.0, "a")
    assert (origin["many.count"], origin["many.rate"], origin["many.word"]) == ("flags", "file", "default")


def test_a_recipe_read_again_gives_the_same_values(tmp_path: Path) -> None:
    known = [*core_options(), *TABLE.values()]
    values, _ = resolve(known, [("x", {"seed": 7, "learning_rate": 1.5e-5, "many.names": ["p", "q"], "many.place": "/a b/c",
                                       "columns": "text=t,label=l", "many.either": 3, "model": 'say "x"'})])
    for comments in (False, True):
        text = write_recipe(["a", "-b"], known, values, comments=comments)
        path = tmp_path / "r.toml"
        path.write_text(text)
        tables = read_recipe(path)
        assert tables.pop("plugins") == ["a", "-b"]
        again, _ = resolve(known, [("r.toml", flatten(tables))])
        assert again == values
    assert "# a count (a whole number from 1 to 9)" in text
    assert tomllib.loads(text)["many"]["count"] == 1


def test_a_recipe_that_is_not_toml(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text("plugins = [")
    with pytest.raises(UserError, match="not TOML"):
        read_recipe(path)
    with pytest.raises(UserError, match="there is no such file"):
        read_recipe(tmp_path / "absent.toml")
