"""Finding, picking, auditing and calling plugins: what pluggy keeps silent about, said."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from ftp import PluginError, UserError, hookimpl, option, plugin
from ftp.options import read_recipe
from ftp.plugin_info import Found, Picked
from ftp.plugins.audit import audit
from ftp.plugins.call import Hooks
from ftp.plugins.declare import kind_of
from ftp.plugins.find import discover, from_path, pick
from ftp.plugins.fit import settle
from ftp.plugins.order import in_order
from ftp.plugins.plan import prepare
from ftp.types import Model, Score

Plant = Callable[..., Path]

DOMAIN = """
    from ftp import hookimpl, option, plugin

    @plugin(gives=({gives},), {more})
    class {name}:
        "Gives rows."
        size: int = option(3, "a size", low=1, high=5)

        @hookimpl
        def load_data(self, run):
            return {{}}
"""
OBJECTIVE = """
    from ftp import hookimpl, plugin

    @plugin(wants="{wants}", head="tokens", {more})
    class {name}:
        "Minimises something."

        @hookimpl
        def make_loss(self, model):
            return None
"""


def domain_code(**values: str) -> str:
    """The code of a domain; `more` stands in the brackets of its decorator."""
    return DOMAIN.format(**{"more": ""} | values)


def objective_code(**values: str) -> str:
    """The code of an objective; `more` stands in the brackets of its decorator."""
    return OBJECTIVE.format(**{"more": ""} | values)


def picked(*classes: type, **default: bool) -> list[Picked]:
    return [Picked(Found(cls.__name__.lower(), "x:y", f"ftp-{cls.__name__.lower()}", "1.0", cls=cls), cls) for cls in classes]


def error_of(function: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as caught:
        function()
    return str(caught.value)


# --- finding and picking ---


def test_an_unknown_name_gets_the_nearest(plant: Plant) -> None:
    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {"ftp_planted_a": domain_code(name="Poems", gives='"text"')})
    text = error_of(lambda: pick(["peoms"]))
    assert "peoms: no such plugin is installed" in text and "did you mean 'poems'?" in text
    assert "ftp install" not in text and "comes with: ftp install sonnets" in error_of(lambda: pick(["sonnets"]))


def test_two_distributions_with_one_name(plant: Plant) -> None:
    source = domain_code(name="Poems", gives='"text"')
    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {"ftp_planted_a": source})
    plant("ftp-planted-b", {"poems": "ftp_planted_b:Poems"}, {"ftp_planted_b": source})
    assert len(discover()["poems"]) == 2
    text = error_of(lambda: pick(["poems"]))
    assert "two packages offer this name: ftp-planted-" in text and "ftp-planted-a 1.0" in text and "ftp-planted-b 1.0" in text


def test_a_plugin_that_misses_a_module_says_which_and_how_to_get_it(plant: Plant) -> None:
    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {"ftp_planted_a": "import no_such_module.inner"})
    text = error_of(lambda: pick(["poems"]))
    assert "plugin 'poems' of ftp-planted-a 1.0 does not import" in text
    assert "module 'no_such_module' is missing" in text and "ftp install --exact no_such_module" in text


@pytest.mark.parametrize(("source", "words"), [
    ("1 / 0", "ZeroDivisionError"), ("def broken(:", "SyntaxError"), ("x = 1", "no attribute 'Poems'"),
    ("class Poems: pass", "not marked with @ftp.plugin"),
])
def test_a_broken_plugin_is_named_with_its_package(plant: Plant, source: str, words: str) -> None:
    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {"ftp_planted_a": source})
    text = error_of(lambda: pick(["poems"]))
    assert "ftp-planted-a 1.0" in text and words in text


def test_a_broken_plugin_that_is_not_named_is_not_loaded(plant: Plant) -> None:
    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {"ftp_planted_a": "1 / 0"})
    plant("ftp-planted-b", {"prose": "ftp_planted_b:Prose"}, {"ftp_planted_b": domain_code(name="Prose", gives='"text"')})
    assert "prose" in [chosen.name for chosen in pick(["prose"])]


def test_a_broken_default_says_how_to_leave_it_out(plant: Plant) -> None:
    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {"ftp_planted_a": "1 / 0"})
    plant("ftp-planted-b", {"poems": "ftp_planted_a:Poems"}, {}, group="ftp.defaults")
    assert "--plugins ...,-poems" in error_of(lambda: pick([]))
    assert "poems" not in [chosen.name for chosen in pick(["-poems"])]


def test_a_minus_leaves_a_default_out_and_is_checked() -> None:
    assert "loss-score" in [chosen.name for chosen in pick([])]
    assert "loss-score" not in [chosen.name for chosen in pick(["-loss-score"])]
    assert "did you mean 'gap'?" in error_of(lambda: pick(["-gpa"]))
    assert "both named and removed" in error_of(lambda: pick(["gap", "-gap"]))


def test_all_mistakes_of_picking_at_once(plant: Plant) -> None:
    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {"ftp_planted_a": "1 / 0"})
    with pytest.raises(UserError) as caught:
        pick(["nothing-like-it", "poems", "-nor-this"])
    assert len(caught.value.problems) == 3


# --- plugins that are not installed ---


def test_plugins_of_a_file_and_of_a_folder(tmp_path: Path) -> None:

    file = tmp_path / "house.py"
    file.write_text(dedent(domain_code(name="HouseStyle", gives='"text"')))
    (tmp_path / "other.py").write_text(dedent(objective_code(name="Other", wants="text")))
    plugins, joins = from_path(f"{file}:HouseStyle")
    assert joins and [chosen.name for chosen in plugins] == ["house-style"]
    assert "house-style" in [chosen.name for chosen in pick([], [f"{file}:HouseStyle"])]
    plugins, joins = from_path(str(tmp_path))
    assert not joins and {chosen.name for chosen in plugins} == {"house-style", "other"}
    assert "house-style" not in [chosen.name for chosen in pick([], [str(tmp_path)])]
    assert "house-style" in [chosen.name for chosen in pick(["house-style"], [str(tmp_path)])]
    assert "class Hose" in error_of(lambda: pick([], [f"{file}:Hose"]))
    assert "no such file" in error_of(lambda: pick([], [str(tmp_path / "absent.py")]))
    (tmp_path / "bad.py").write_text("1 / 0")
    assert "ZeroDivisionError" in error_of(lambda: pick([], [str(tmp_path / "bad.py")]))


# --- the audit ---


def test_a_forgotten_mark_an_unknown_hook_and_an_unknown_argument() -> None:
    @plugin
    class Bad:
        """Bad in three ways."""

        def evaluate(self, data: Any) -> list[Any]:
            return []

        @hookimpl
        def load_dada(self, run: Any) -> dict[str, Any]:
            return {}

        @hookimpl
        def make_loss(self, modle: Any) -> None:
            return None

    text = "\n".join(map(str, audit(picked(Bad))))
    assert "method evaluate has the name of a hook but no @hookimpl" in text
    assert "@hookimpl load_dada: there is no such hook" in text and "did you mean 'load_data'?" in text
    assert "hook make_loss has no argument 'modle'" in text and "did you mean 'model'?" in text
    assert text.count("ftp-bad 1.0") == 3


def test_two_answers_to_a_hook_of_one_answer() -> None:
    @plugin
    class First:
        """One."""

        @hookimpl
        def make_loss(self, model: Any) -> None: ...

    @plugin
    class Second:
        """Two."""

        @hookimpl
        def make_loss(self, model: Any) -> None: ...

    @plugin
    class Wraps:
        """Wraps, which is welcome."""

        @hookimpl(wrapper=True)
        def make_loss(self) -> Any:
            return (yield)

    problems = audit(picked(First, Second, Wraps))
    assert len(problems) == 1
    assert "'first' (ftp-first 1.0) and 'second' (ftp-second 1.0) both give it" in problems[0].what
    assert not audit(picked(First, Wraps))


def test_two_plugins_that_decide_the_same_are_named() -> None:
    @plugin(decides="which weights are trained")
    class All:
        """Trains all."""

    @plugin(decides="which weights are trained")
    class Some:
        """Trains some."""

    problems = audit(picked(All, Some))
    who = "'all' (ftp-all 1.0) and 'some' (ftp-some 1.0)"
    assert [problem.what for problem in problems] == [f"{who} both decide which weights are trained"]
    assert not audit(picked(Some))


def test_an_unknown_word_gets_the_nearest() -> None:
    @plugin(want=("text",), suggest={"epochs": 1}, colour="red")  # type: ignore[call-overload,untyped-decorator,unused-ignore]
    class Bad:
        """Declares what there is not."""

    text = "\n".join(map(str, audit(picked(Bad))))
    assert "plugin 'bad' of ftp-bad 1.0: @plugin(want=...): a plugin declares no such thing" in text
    assert "did you mean 'wants'?" in text and "did you mean 'suggests'?" in text
    assert "@plugin(colour=...)" in text and "there are: kind, wants" in text


@pytest.mark.parametrize(("line", "word"), [
    ("wants = ('text',)", "wants"), ("want = ('text',)", "wants"), ("suggest = {'epochs': 2}", "suggests"),
    ("replaces = 5", "replaces"),
])
def test_a_declaration_in_the_body_of_the_class_is_refused(plant: Plant, line: str, word: str) -> None:
    source = METHOD.format(name="Method", how="(wrapper=True)", hook="build_model", words="") + f"\n        {line}\n"
    plant("ftp-planted-a", {"method": "ftp_planted_a:Method"}, {"ftp_planted_a": source})
    text = error_of(lambda: prepare("method,sentiment"))
    assert f"{line.split()[0]} = ... in the body of class Method declares nothing" in text and f"@plugin({word}=" in text
    assert len(text.splitlines()) == 2, "told once"


def test_options_methods_and_constants_of_any_name_declare_nothing() -> None:
    @plugin
    class Fine:
        """Has names like those of declarations."""

        WANTED = 3
        head: int = option(2, "an option may be called so")
        needed = 0.5

        def before(self) -> None: ...

    assert not audit(picked(Fine))


def test_a_class_made_from_a_plugin_takes_over_what_it_declares() -> None:
    @plugin(wants="text", head="tokens", main_only=True)
    class Parent:
        """Declares."""

    @plugin(head="mask")
    class Child(Parent):
        """Declares something else."""

    declared = picked(Child)[0].declaration
    assert (declared.wants, declared.head, declared.main_only) == (("text",), "mask", True)
    assert picked(Parent)[0].declaration.head == "tokens"


def test_what_a_plugin_requires_is_told_with_the_command_that_has_it(plant: Plant) -> None:
    source = METHOD.format(name="Faster", how="(wrapper=True)", hook="build_model", words="requires=('lora', 'sentiment')")
    plant("ftp-planted-a", {"faster": "ftp_planted_a:Faster"}, {"ftp_planted_a": source})
    text = error_of(lambda: prepare("faster,sentiment,-gap"))
    assert "plugin 'faster' of ftp-planted-a 1.0 requires 'lora', which this run does not have" in text
    assert "try: ftp run --plugins lora,faster,sentiment,-gap" in text
    assert prepare("lora,faster,sentiment,-gap").plugins == ("lora", "faster", "sentiment", "-gap")


def wrapper(name: str, **words: Any) -> type:
    """A plugin that wraps build_model."""

    def build_model(self: Any) -> Any:
        return (yield)

    body = {"__doc__": "Wraps.", "build_model": hookimpl(wrapper=True)(build_model)}
    return plugin(**words)(type(name, (), body)) if words else plugin(type(name, (), body))


def test_before_and_after_order_wrappers_and_leave_the_rest_as_named(plant: Plant) -> None:
    for letter, words in (("a", "after='b'"), ("b", ""), ("c", "before=('b', 'gone')")):
        source = METHOD.format(name="Method", how="(wrapper=True)", hook="build_model", words=words)
        plant(f"ftp-planted-{letter}", {letter: f"ftp_planted_{letter}:Method"}, {f"ftp_planted_{letter}": source})
    named = prepare("a,b,c,sentiment")
    assert named.plugins == ("a", "b", "c", "sentiment"), "the recipe keeps the names as given"
    assert [chosen.name for chosen in named.picked][:4] == ["c", "b", "a", "sentiment"]
    wrappers = [name for name, how in Hooks(named.picked, named.values).who("build_model") if how == "wraps"]
    assert wrappers[:3] == ["c", "b", "a"], "default plugins stand behind them"
    assert [chosen.name for chosen in prepare("sentiment,b,a").picked][:3] == ["sentiment", "b", "a"]


def test_wishes_that_go_round_in_a_circle_are_told() -> None:
    circle = picked(wrapper("A", before="b"), wrapper("B", before="c"), wrapper("C", before="a"), wrapper("D", after="a"))
    problems = audit(circle)
    assert len(problems) == 1 and "round in a circle" in problems[0].what
    turns = ["'a' before 'b' before 'c' before 'a'", "'b' before 'c' before 'a' before 'b'",
             "'c' before 'a' before 'b' before 'c'"]
    assert any(turn in problems[0].what for turn in turns), problems[0].what
    assert sorted(chosen.name for chosen in in_order(circle)) == ["a", "b", "c", "d"]
    assert not audit(circle[1:])


def test_what_hides_words_cannot_be_wrapped() -> None:
    @plugin
    class Wraps:
        """Wraps a pipeline."""

        @hookimpl(wrapper=True)
        def hide(self, text: str) -> Any:
            return (yield)

    assert "hide cannot be wrapped" in str(audit(picked(Wraps))[0])


def test_a_wrapper_that_never_yields() -> None:
    @plugin
    class Lazy:
        """Forgets to yield."""

        @hookimpl(wrapper=True)
        def build_model(self) -> None: ...

    assert "never yields" in str(audit(picked(Lazy))[0])


@pytest.mark.parametrize(("there", "absent"), [("state", "restore"), ("restore", "state")])
def test_half_of_a_state_is_a_mistake(there: str, absent: str) -> None:
    def method(self: Any, *arguments: Any) -> dict[str, Any]:
        return {}

    half = type("Half", (), {"__doc__": "Would keep something.", there: method})
    problems = audit(picked(plugin(half)))
    assert len(problems) == 1 and f"has the method {there} but not {absent}" in problems[0].what

    whole = type("Whole", (), {"__doc__": "Keeps something.", there: method, absent: method})
    assert not audit(picked(plugin(whole)))


# --- forms ---


def test_forms_that_do_not_fit_name_the_domains_that_do(plant: Plant) -> None:
    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {"ftp_planted_a": domain_code(name="Poems", gives='"text"')})
    plant("ftp-planted-b", {"votes": "ftp_planted_b:Votes"}, {"ftp_planted_b": domain_code(name="Votes", gives='"preference"')})
    taste = objective_code(name="Taste", wants="preference")
    plant("ftp-planted-c", {"taste": "ftp_planted_c:Taste"}, {"ftp_planted_c": taste})
    task, problems = settle(pick(["taste", "poems"]))
    assert task is None and "'taste' wants preference, but 'poems' gives text" in problems[0].what
    assert "votes" in problems[0].fix and "poems" not in problems[0].fix
    task, problems = settle(pick(["taste", "votes"]))
    assert not problems and task is not None and (task.form, task.head) == ("preference", "tokens")


def test_a_run_without_data_or_without_an_objective(plant: Plant) -> None:
    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {"ftp_planted_a": domain_code(name="Poems", gives='"text"')})
    plant("ftp-planted-c", {"taste": "ftp_planted_c:Taste"}, {"ftp_planted_c": objective_code(name="Taste", wants="text")})
    assert "no plugin of this run gives data" in error_of(lambda: prepare(["taste"]))
    text = error_of(lambda: prepare("poems"))
    assert "'poems' gives text, for which no objective is named" in text and "taste" in text


def test_form_chooses_where_no_objective_does(plant: Plant) -> None:
    news = domain_code(name="News", gives='"labelled", "question", "text"')
    plant("ftp-planted-a", {"news": "ftp_planted_a:News"}, {"ftp_planted_a": news})
    plant("ftp-planted-c", {"taste": "ftp_planted_c:Taste"}, {"ftp_planted_c": objective_code(name="Taste", wants="text")})

    def task(plugins: str, *forms: str) -> tuple[Any, ...]:
        settled = prepare(plugins, given=[(f"source {number}", {"form": form}) for number, form in enumerate(forms)]).task
        return settled.form, settled.head, settled.others

    assert task("news") == ("labelled", "labels", ("question",))
    assert task("news", "question") == ("question", "span", ("labelled",))
    assert task("news", "question", "labelled") == ("labelled", "labels", ("question",)), "the last source counts"
    assert task("news,taste") == ("text", "tokens", ())
    assert "--form tagged: 'news' gives labelled, question" in error_of(lambda: task("news", "tagged"))
    assert "--form question: 'taste' reads text" in error_of(lambda: task("news,taste", "question"))
    assert error_of(lambda: task("news", "quesion")).count("quesion") == 1


# --- all together ---


def test_every_mistake_of_a_run_is_told_at_once(plant: Plant) -> None:
    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {"ftp_planted_a": domain_code(name="Poems", gives='"text"')})
    plant("ftp-planted-b", {"gone": "ftp_planted_b:Gone"}, {"ftp_planted_b": "import no_such_module"})
    plant("ftp-planted-c", {"votes": "ftp_planted_c:Votes"}, {"ftp_planted_c": domain_code(name="Votes", gives='"text"')})
    flags = {"poems.size": "9", "poems.sizes": 1, "votes.size": 2, "seed": "x", "gone.anything": 1}
    with pytest.raises(UserError) as caught:
        prepare("poems,gone,peoms", given=[("flags", flags)])
    text = str(caught.value)
    for words in ("'gone' of ftp-planted-b 1.0 does not import", "peoms: no such plugin", "--poems.size 9: out of range",
                  "--poems.sizes: no such option", "plugin 'votes' is not in this run", "--seed x: not a whole number"):
        assert words in text
    assert "gone.anything" not in text  # its plugin is complained about already
    assert len(caught.value.problems) == 6


def test_suggestions_count_more_than_defaults_and_less_than_files(plant: Plant) -> None:
    source = domain_code(name="Poems", gives='"labelled"', more="suggests={'learning_rate': 3e-3, 'epochs': 7}")
    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {"ftp_planted_a": source})
    prepared = prepare("poems", given=[("r.toml", {"epochs": 2, "poems": {"size": 4}})])
    assert (prepared.settings.learning_rate, prepared.settings.epochs, prepared.settings.seed) == (3e-3, 2.0, 0)
    assert prepared.origin["learning_rate"] == "suggested by poems" and prepared.origin["epochs"] == "r.toml"
    assert prepared.values["poems.size"] == 4 and prepared.task.head == "labels"


def test_a_suggestion_that_was_turned_down_stays_so_in_the_recipe(plant: Plant, tmp_path: Path) -> None:
    source = domain_code(name="Poems", gives='"labelled"', more="suggests={'max_length': 64, 'eval_steps': 7}")
    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {"ftp_planted_a": source})
    first = prepare("poems", given=[("flags", {"max_length": "none"})])
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(first.recipe())
    tables = read_recipe(recipe)
    again = prepare(tables.pop("plugins"), given=[(str(recipe), tables)])
    assert (again.settings.max_length, again.settings.eval_steps) == (None, 7)
    assert again.recipe() == first.recipe()


METHOD = """
    from ftp import hookimpl, plugin

    @plugin({words})
    class {name}:
        "A plugin."

        @hookimpl{how}
        def {hook}(self):
            return (yield)
"""


def test_the_order_of_names_changes_no_suggestion(plant: Plant) -> None:
    """A method's counts more than an objective's, that more than a domain's; learning rates are multiplied."""
    wide = domain_code(name="Poems", gives='"preference"',
                       more="suggests={'learning_rate': 9.0, 'seed': 5, 'epochs': 7}")
    low = METHOD.format(name="Low", how="(wrapper=True)", hook="build_model",
                        words="suggests={'learning_rate': 1e-3, 'weight_decay': 0.5}")
    prefer = objective_code(name="Prefer", wants="preference",
                            more="suggests={'learning_rate': 1e-6, 'epochs': 1.0, 'weight_decay': 0.1}")
    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {"ftp_planted_a": wide})
    plant("ftp-planted-b", {"low": "ftp_planted_b:Low"}, {"ftp_planted_b": low})
    plant("ftp-planted-c", {"prefer": "ftp_planted_c:Prefer"}, {"ftp_planted_c": prefer})
    folder = ("flags", {"model": "."})  # which suggests nothing, as a model that a package offers may
    for order in permutations(["poems", "low", "prefer"]):
        prepared = prepare(list(order), given=[folder])
        assert prepared.settings.learning_rate == pytest.approx(2e-5), order
        assert (prepared.settings.epochs, prepared.settings.weight_decay, prepared.settings.seed) == (1.0, 0.5, 5)
        assert prepared.origin["learning_rate"] == "1e-06 suggested by prefer, 20 times that by low"
        assert prepared.origin["epochs"] == "suggested by prefer"
    assert prepare("prefer,poems", given=[folder]).settings.learning_rate == 1e-6
    assert prepare("low,prefer,poems", given=[folder, ("flags", {"learning_rate": 3e-4})]).settings.learning_rate == 3e-4


def test_what_an_offered_model_suggests_takes_the_place_of_an_objectives(plant: Plant) -> None:
    low = METHOD.format(name="Low", how="(wrapper=True)", hook="build_model", words="suggests={'learning_rate': 1e-3}")
    prefer = objective_code(name="Prefer", wants="preference",
                            more="suggests={'learning_rate': 1e-6, 'epochs': 1.0}")
    offer = """
        from pathlib import Path
        from ftp.types import Offer

        def small():
            return Offer(Path("."), suggests={"learning_rate": 1e-4, "batch_size": 4})
    """
    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"},
          {"ftp_planted_a": domain_code(name="Poems", gives='"preference"')})
    plant("ftp-planted-b", {"low": "ftp_planted_b:Low"}, {"ftp_planted_b": low})
    plant("ftp-planted-c", {"prefer": "ftp_planted_c:Prefer"}, {"ftp_planted_c": prefer})
    plant("ftp-planted-d", {"planted/small": "ftp_planted_d:small"}, {"ftp_planted_d": offer}, group="ftp.models")
    by_hand = prepare("low,prefer,poems", given=[("flags", {"model": "planted/small", "batch_size": 2})])
    assert by_hand.settings.learning_rate == pytest.approx(2e-3)  # 20 times the model's
    assert (by_hand.settings.epochs, by_hand.settings.batch_size) == (1.0, 2)
    assert by_hand.origin["learning_rate"] == "0.0001 suggested by planted/small, 20 times that by low"
    assert prepare("prefer,poems", given=[("flags", {"model": "planted/small"})]).settings.learning_rate == 1e-4
    for other in ("planted/gone", "."):  # a hub id, a folder
        assert prepare("low,prefer,poems", given=[("flags", {"model": other})]).settings.learning_rate == pytest.approx(2e-5)


def test_suggestions_of_a_kind_that_contradict_are_told_until_one_is_chosen(plant: Plant) -> None:
    for letter, epochs in (("a", 7), ("b", 8)):
        source = METHOD.format(name="Method", how="(wrapper=True)", hook="build_model",
                               words=f"suggests={{'epochs': {epochs}}}")
        plant(f"ftp-planted-{letter}", {f"method{letter}": f"ftp_planted_{letter}:Method"}, {f"ftp_planted_{letter}": source})
    plant("ftp-planted-c", {"poems": "ftp_planted_c:Poems"}, {"ftp_planted_c": domain_code(name="Poems", gives='"labelled"')})
    messages = [error_of(lambda: prepare("methoda,methodb,poems")), error_of(lambda: prepare("methodb,poems,methoda"))]
    assert messages[0] == messages[1]
    assert "--epochs: two plugins suggest different values (methoda: 7 and methodb: 8)" in messages[0]
    assert prepare("methoda,methodb,poems", given=[("flags", {"epochs": 2})]).settings.epochs == 2


def test_a_plugin_that_is_not_installed_is_found_again_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its absolute path in the run's recipe; and in a recipe of one's own by a path from there."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "poems.py").write_text(dedent(domain_code(name="Poems", gives='"labelled"')))
    monkeypatch.chdir(tmp_path)
    prepared = prepare((), ["mine/poems.py:Poems"])
    assert prepared.values["plugins_from"] == (f"{tmp_path / 'mine' / 'poems.py'}:Poems",)
    assert prepared.recipe().count(str(tmp_path / "mine" / "poems.py")) == 1
    monkeypatch.chdir("/")
    recipe = tmp_path / "mine" / "recipe.toml"
    from_recipe = prepare((), given=[(str(recipe), {"plugins_from": ["poems.py:Poems"]})])
    assert from_recipe.picked[0].name == "poems" and from_recipe.values["plugins_from"] == prepared.values["plugins_from"]
    assert "no such file" in error_of(lambda: prepare((), ["mine/poems.py:Poems"]))


def test_a_plugin_named_like_an_option_of_core_is_refused(plant: Plant) -> None:
    plant("ftp-planted-a", {"seed": "ftp_planted_a:Seed"}, {"ftp_planted_a": domain_code(name="Seed", gives='"labelled"')})
    assert "has the name of an option of core" in error_of(lambda: prepare("seed"))


# --- calling ---


@plugin
class Speaks:
    """Answers."""

    word: str = option("hello", "a word")

    @hookimpl
    def evaluate(self, model: Any) -> list[Score]:
        return [Score(self.word, model)]


@plugin
class Fails:
    """Raises."""

    @hookimpl
    def evaluate(self) -> list[Score]:
        raise KeyError("lost")


def test_answers_are_collected_in_the_order_named() -> None:
    @plugin
    class Later:
        """Answers as well."""

        @hookimpl
        def evaluate(self, model: Any) -> list[Score]:
            return [Score("later", 0.5)]

    relay = Hooks(picked(Speaks, Later), {"speaks.word": "hi"})
    answers = relay.each("evaluate", run=None, data=None, predictions=None, model=1.0)
    assert [(answer.plugin, answer.package, answer.value) for answer in answers] == [
        ("speaks", "ftp-speaks 1.0", [Score("hi", 1.0)]), ("later", "ftp-later 1.0", [Score("later", 0.5)])]


def test_an_error_inside_a_hook_names_plugin_package_and_hook() -> None:
    with pytest.raises(PluginError) as caught:
        Hooks(picked(Speaks, Fails)).each("evaluate", run=None, data=None, predictions=None, model=1.0)
    assert "plugin 'fails' (ftp-fails 1.0) failed in evaluate: KeyError: 'lost'" in str(caught.value)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_user_error_inside_a_hook_stays_one() -> None:
    @plugin
    class Strict:
        """Refuses."""

        @hookimpl
        def evaluate(self) -> list[Score]:
            raise UserError("mend this")

    with pytest.raises(UserError, match="mend this"):
        Hooks(picked(Strict)).each("evaluate", run=None, data=None, predictions=None, model=None)


def test_a_plugin_that_asks_another_hook_while_it_answers_speaks_for_itself() -> None:
    @plugin
    class Asks:
        """Asks for a model before it answers."""

        @hookimpl
        def evaluate(self, run: Any) -> list[Score]:
            return [Score(run.one("build_model", run=run, data=None).name, 1.0)]

    @plugin
    class Builds:
        """Builds, or fails."""

        @hookimpl
        def build_model(self, data: Any) -> Model:
            return Model(torch.nn.Linear(1, 1), Mock(), "labels", name="built")

    @plugin
    class Breaks:
        """Fails to build."""

        @hookimpl
        def build_model(self, data: Any) -> Model:
            raise ValueError("no")

    relay = Hooks(picked(Asks, Builds))
    answers = relay.each("evaluate", run=relay, data=None, predictions=None, model=None)
    assert [(answer.plugin, answer.value) for answer in answers] == [("asks", [Score("built", 1.0)])]
    relay = Hooks(picked(Asks, Breaks))
    answers = relay.each("evaluate", on_error=lambda who, error: f"{who.name}: {error}", run=relay, data=None, predictions=None,
                         model=None)
    assert [answer.plugin for answer in answers] == ["asks"] and "plugin 'breaks'" in answers[0].value


@pytest.mark.parametrize(("is_main", "heard"), [(True, ["everywhere", "main"]), (False, ["everywhere"])])
def test_events_are_heard_on_the_main_process_alone_where_a_plugin_says_so(is_main: bool, heard: list[str]) -> None:
    names = []

    @plugin
    class Everywhere:
        """Hears on every process."""

        @hookimpl
        def on_event(self, event: Any) -> None:
            names.append("everywhere")

    @plugin(main_only=True)
    class Main:
        """Hears on the main one."""

        @hookimpl
        def on_event(self, event: Any) -> None:
            names.append("main")

        @hookimpl
        def evaluate(self) -> list[Score]:
            return [Score("asked", 1.0)]

    run = SimpleNamespace(accelerator=SimpleNamespace(is_main_process=is_main))
    relay = Hooks(picked(Everywhere, Main))
    relay.each("on_event", run=run, event=None)
    assert sorted(names) == heard
    assert relay.each("evaluate", run=run, data=None, predictions=None, model=None), "other hooks are asked everywhere"


def test_trace_tells_each_call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FTP_TRACE", "1")
    Hooks(picked(Speaks)).each("evaluate", run=None, data=None, predictions=None, model=1.0)
    line = capsys.readouterr().err
    assert line.startswith("ftp: evaluate answered by speaks in ") and line.endswith(" ms\n")
    monkeypatch.setenv("FTP_TRACE", "0")
    Hooks(picked(Speaks)).each("evaluate", run=None, data=None, predictions=None, model=1.0)
    assert not capsys.readouterr().err


def test_kinds() -> None:
    known = {chosen.name: kind_of(chosen.cls) for chosen in pick(["gap"])}
    assert known["checkpoint"] == "core" and known["gap"] == "risk"


@pytest.fixture
def two_packages(plant: Plant) -> None:
    """Two packages that both offer `poems`, one of rows with text and one of questions."""
    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {"ftp_planted_a": domain_code(name="Poems", gives='"text"')})
    plant("Ftp.Planted_B", {"poems": "ftp_planted_b:Poems"}, {"ftp_planted_b": domain_code(name="Poems", gives='"question"')})


def test_a_name_with_its_package_picks_one_of_two(two_packages: None) -> None:
    spellings = {"ftp-planted-a:poems": "text", "ftp-planted-b:poems": "question", "FTP_planted.b:poems": "question"}
    for name, gives in spellings.items():
        chosen = pick([name])[0]
        assert (chosen.name, chosen.declaration.gives) == ("poems", (gives,))
    assert "offered by ftp-planted-a 1.0 and Ftp.Planted_B 1.0" in error_of(lambda: pick(["ftp-lora:poems"]))
    assert "two plugins of this run are called 'poems'" in error_of(lambda: pick(["ftp-planted-a:poems", "ftp-planted-b:poems"]))


def test_a_clash_names_both_packages_and_uninstalls_neither(two_packages: None) -> None:
    text = error_of(lambda: pick(["poems"]))
    assert "ftp-planted-a:poems or Ftp.Planted_B:poems" in text and "uninstall" not in text


def test_a_file_and_a_package_with_one_name_are_told_apart(plant: Plant, tmp_path: Path) -> None:
    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {"ftp_planted_a": domain_code(name="Poems", gives='"text"')})
    (tmp_path / "mine.py").write_text(dedent(domain_code(name="Poems", gives='"question"')))
    where = f"{tmp_path / 'mine.py'}:Poems"
    assert "mine.py:poems" in error_of(lambda: pick([], [where]))
    for name, gives in (("ftp-planted-a:poems", "text"), ("mine.py:poems", "question")):
        assert pick([name], [where])[0].declaration.gives == (gives,)


def test_a_package_with_the_name_of_a_default_takes_no_part_unless_it_is_named(plant: Plant) -> None:
    plant("ftp-planted-a", {"gap": "ftp_planted_a:Gap"}, {"ftp_planted_a": domain_code(name="Gap", gives='"text"')})
    assert [chosen.found.distribution for chosen in pick([]) if chosen.name == "gap"] in ([], ["ftp-core"])
    assert [chosen.found.distribution for chosen in pick(["ftp-planted-a:gap"]) if chosen.name == "gap"] == ["ftp-planted-a"]


def test_of_two_defaults_with_one_name_one_is_left_out_by_its_package(plant: Plant) -> None:
    for letter in "ab":
        plant(f"ftp-planted-{letter}", {"poems": f"ftp_planted_{letter}:Poems"},
              {f"ftp_planted_{letter}": domain_code(name="Poems", gives='"text"')}, group="ftp.defaults")
    text = error_of(lambda: pick([]))
    assert "two packages put 'poems' into every run: ftp-planted-" in text and "uninstall" not in text
    assert "-ftp-planted-a:poems" in text and "-ftp-planted-b:poems" in text  # neither is preferred
    chosen_poems = [chosen for chosen in pick(["-ftp-planted-b:poems"]) if chosen.name == "poems"]
    assert [chosen.found.distribution for chosen in chosen_poems] == ["ftp-planted-a"]
    assert "poems" not in [chosen.name for chosen in pick(["-poems"])]


def test_a_model_of_two_packages_is_named_with_one_of_them(plant: Plant) -> None:
    from ftp.model.source import find

    offer = "Offer(Path(__file__).parent / '{0}', summary='{0}')"
    source = f"from pathlib import Path\nfrom ftp.types import Offer\nof = lambda: {offer}\n"
    for letter in "ab":
        modules = {f"ftp_planted_{letter}": source.format(letter)}
        site = plant(f"ftp-planted-{letter}", {"small": f"ftp_planted_{letter}:of"}, modules, group="ftp.models")
        (site / letter).mkdir()
    text = error_of(lambda: find("small", "labels"))
    assert "ftp-planted-a:small" in text and "uninstall" not in text
    folder = find("ftp-planted-b:small", "labels").folder
    assert folder is not None and folder.name == "b"


def test_plugins_lists_the_defaults_of_other_packages(plant: Plant, capsys: pytest.CaptureFixture[str]) -> None:
    from ftp.cli.main import call

    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {"ftp_planted_a": domain_code(name="Poems", gives='"text"')},
          group="ftp.defaults")
    assert call(["plugins"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("poems "))
    assert "ftp-planted-a 1.0" in line and line.endswith("(part of every run)")


def test_commands_that_name_a_plugin_take_its_package(two_packages: None, capsys: pytest.CaptureFixture[str]) -> None:
    from ftp.cli.main import call

    assert call(["plugins", "show", "ftp-planted-b:poems"]) == 0
    assert "poems (domain), from Ftp.Planted_B 1.0" in capsys.readouterr().out
    assert call(["plugins", "show", "poems"]) == 0
    assert "ftp-planted-a:poems or Ftp.Planted_B:poems" in capsys.readouterr().out
    assert call(["check", "ftp-planted-a:poems", "--only", "class-is-sound"]) == 0
    assert call(["check", "poems", "--only", "class-is-sound"]) == 2
    assert "ftp-planted-a:poems or" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "value", "right"),
    [
        ("wants", ("labeled",), "one of preference, feedback"),
        ("gives", 5, "or a tuple of such"),
        ("head", "lable", "one of labels, tags"),
        ("kind", "metric", "one of objective, parameterisation"),
        ("suggests", ["learning_rate"], "a dictionary of option -> value"),
        ("goes_with", (str,), "a text, or a tuple of such"),
    ],
)
def test_a_word_that_declares_what_it_cannot_is_named(plant: Plant, word: str, value: Any, right: str) -> None:
    declared = f"{word}={value!r}".replace(repr(str), "str")
    source = METHOD.format(name="Poems", how="(wrapper=True)", hook="build_model", words=declared)
    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {"ftp_planted_a": source})
    with pytest.raises(UserError) as caught:
        pick(["poems"])
    message = str(caught.value)
    assert f"plugin 'poems' of ftp-planted-a 1.0: @plugin({word}=...): it is " in message and right in message


# --- names in declarations ---

NAMING = """
    from ftp import Candidate, hookimpl, option, plugin

    @plugin(kind="extra", {words})
    class Poems:
        "Poems."
        rate: float = option(0.5, "a rate", low=0, high=1)

        @hookimpl
        def check_risk(self): ...
"""


@pytest.mark.parametrize(("words", "mistake", "fix"), [
    ("after=('loar',)", "@plugin(after=...): no plugin 'loar' is installed", "did you mean 'lora'?"),
    ("before=('Lora',)", "@plugin(before=...): no plugin 'Lora' is installed", "did you mean 'lora'?"),
    ("replaces=('dupicates',)", "@plugin(replaces=...): no plugin 'dupicates' is installed", "did you mean 'duplicates'?"),
    ("requires=('ftp-lora:lora',)", "@plugin(requires=...): 'ftp-lora:lora' names a package as well", "a plugin alone: 'lora'"),
    ("requires=('sentment',)", "@plugin(requires=...): no plugin 'sentment' is installed", "did you mean 'sentiment'?"),
    ("candidates=({'rate': 1}, {'rte': 2})", "@plugin(candidates=...): there is no option 'rte'", "did you mean 'rate'?"),
    ("candidates=[Candidate({'rte': 2})]", "@plugin(candidates=...): there is no option 'rte'", "did you mean 'rate'?"),
    ("candidates=({'rate': 2.0},)", "@plugin(candidates=...): --rate 2.0: out of range", "a number from 0 to 1"),
    ("candidates=[Candidate(needs='unevn')]", "@plugin(candidates=...): nothing is known of the need 'unevn'",
     "did you mean 'uneven'?"),
    ("candidates=[Candidate(cost=0)]", "@plugin(candidates=...): it is [Candidate(", "it is a list of ftp.Candidate("),
    ("builds_with=('epochs',)", "@plugin(builds_with=...): there is no option 'epochs'", "its options: rate"),
])
def test_a_misspelt_name_in_a_declaration_is_told(plant: Plant, words: str, mistake: str, fix: str) -> None:
    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {"ftp_planted_a": NAMING.format(words=words)})
    text = error_of(lambda: prepare("poems,lora,sentiment"))
    assert f"plugin 'poems' of ftp-planted-a 1.0: {mistake}" in text and fix in text


def test_names_of_plugins_that_are_not_installed_are_fine_and_shown(plant: Plant, capsys: pytest.CaptureFixture[str]) -> None:
    from ftp.cli.main import call

    words = "after=('qlora', 'lora2', 'sonnets'), replaces=('lora',), candidates=({'rate': 1, 'learning_rate': 1e-3},)"
    source = NAMING.format(words=words).replace("check_risk", "check_risks")
    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {"ftp_planted_a": source})
    assert not audit(pick(["poems"]))
    assert call(["plugins", "show", "poems"]) == 0
    assert "names plugins that are not installed: qlora, lora2, sonnets" in capsys.readouterr().out
    assert call(["check", "poems", "--only", "class-is-sound"]) == 0
    assert "names plugins that are not installed: qlora, lora2, sonnets" in capsys.readouterr().out


def test_mistakes_in_words_and_in_hooks_are_told_together(plant: Plant) -> None:
    source = NAMING.format(words="want=('text',), after=('loar',)")
    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {"ftp_planted_a": source})
    text = error_of(lambda: prepare("poems,sentiment"))
    for mistake in ("@plugin(want=...)", "did you mean 'lora'?", "@hookimpl check_risk: there is no such hook"):
        assert mistake in text
