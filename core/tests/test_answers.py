"""A hook's wrong answer is refused as it comes back, naming plugin, package and hook."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from ftp import PluginError, UserError, hookimpl, plugin
from ftp.answers.fields import Check, a_loss, instance
from ftp.answers.wrapped_loss import WrappedLoss, wrapped
from ftp.plugin_info import Found, Picked
from ftp.plugins.call import Hooks
from ftp.settings import Settings
from ftp.types import (
    Batch,
    Loss,
    LossOut,
    Metric,
    Model,
    Offer,
    Prediction,
    Reward,
    Risk,
    Row,
    Run,
    Saved,
    Score,
    StepOut,
    Stop,
    Task,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    "load_data": {"run": None},
    "build_model": {"run": None, "data": None},
    "make_loss": {"run": None, "data": None, "model": None},
    "order_rows": {"run": None, "data": None, "lengths": [3, 4], "rows": [0, 1], "epoch": 0},
    "make_optimizer": {"run": None, "model": None, "loss": None},
    "make_schedule": {"run": None, "total": 9},
    "train_step": {"run": None, "model": None, "loss": None, "batches": [], "optimizer": None, "step": 0, "total": 9},
    "evaluated_weights": {"run": None, "model": None},
    "evaluate": {"run": None, "data": None, "predictions": {}, "model": None},
    "check_risks": {
        "run": None,
        "stage": "end",
        "data": None,
        "model": None,
        "loss": None,
        "predictions": None,
        "history": (),
        "log": (),
    },
    "reward": {"run": None, "rows": [], "completions": []},
    "on_event": {"run": None, "event": Saved(1, Path("step-1"))},
}
COLLECTED = {"load_data", "evaluate", "check_risks", "reward", "on_event"}


def relay(hook: str, answer: Any, *others: type) -> Hooks:
    """The hooks of a run whose plugin `bad` gives `answer` to `hook`."""

    def give(self: Any) -> Any:
        return answer

    give.__name__ = hook
    bad = plugin(type("Bad", (), {"__doc__": "Gives what it should not.", hook: hookimpl(give)}))
    return relay_of(bad, *others)


def relay_of(*classes: type) -> Hooks:
    return Hooks(
        [
            Picked(Found(cls.__name__.lower(), "", f"ftp-{cls.__name__.lower()}", "1.0"), cls)
            for cls in classes
        ]
    )


def ask(hooks: Hooks, hook: str) -> Any:
    return (hooks.each if hook in COLLECTED else hooks.one)(hook, **ARGUMENTS[hook])


class Bare(Loss):
    """A loss without functions."""


def loss(**changes: Any) -> Loss:
    """A loss that works, with changes."""

    def encode(rows: Any) -> Iterator[dict[str, Any]]:
        yield from ({"input_ids": [1]} for _ in rows)

    def collate(rows: Any) -> Batch:
        return Batch({}, len(rows), len(rows))

    def compute(batch: Batch) -> LossOut:
        return LossOut(torch.tensor(1.0))

    def answer(batch: Batch, out: LossOut | None) -> list[Prediction]:
        return [Prediction(0)]

    return wrapped(Bare(), **{"encode": encode, "collate": collate, "compute": compute, "answer": answer, **changes})


def test_an_exchanged_encoding_is_that_of_held_out_rows_too_unless_theirs_is_another() -> None:
    def again(rows: Any) -> Iterator[dict[str, Any]]:
        yield {"input_ids": [2]}

    def to_score(rows: Any) -> Iterator[dict[str, Any]]:
        yield {"input_ids": [3]}

    changed = wrapped(loss(), encode=again)
    assert list(changed.encode_to_score([])) == [{"input_ids": [2]}]
    apart = wrapped(loss(encode_to_score=to_score), encode=again)
    assert list(apart.encode([])) == [{"input_ids": [2]}]
    assert list(apart.encode_to_score([])) == [{"input_ids": [3]}]


class Tokenizer:
    """As much of one as is looked at."""

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [1]}

    def decode(self, ids: list[int]) -> str:
        return "a"


TOKENIZER = Tokenizer()
NET = torch.nn.Linear(1, 1)
ROWS = Dataset.from_dict({"text": ["a"]})
WRONG: list[tuple[str, Any, str]] = [
    (
        "load_data",
        [1, 2, 3],
        "gave a list to load_data, not a dictionary of split name -> datasets.Dataset",
    ),
    ("load_data", {"train": [{"text": "a"}]}, "gave a list for the split 'train' to load_data"),
    ("load_data", {1: ROWS}, "gave a dictionary with the key 1 to load_data"),
    ("build_model", 5, "gave an int to build_model, not a Model"),
    (
        "build_model",
        Model("net", TOKENIZER, "labels"),
        "gave a Model whose net is 'net' to build_model, not a torch.nn.Module",
    ),
    (
        "build_model",
        Model(NET, TOKENIZER, "lables"),
        "gave a Model whose head is 'lables' to build_model, not one of labels, tags",
    ),
    (
        "build_model",
        Model(NET, TOKENIZER, "labels", fresh="head"),
        "gave a Model whose fresh is 'head' to build_model, not a list",
    ),
    ("make_loss", "loss", "gave a str to make_loss, not a Loss"),
    (
        "make_loss",
        loss(collate=None),
        "gave a Loss whose collate is None to make_loss, not a function",
    ),
    (
        "make_loss",
        loss(metrics={"a": "max"}),
        "gave a Loss whose metrics is a dict to make_loss, not a dictionary",
    ),
    ("order_rows", 5, "gave an int to order_rows, not a list of updates, each a list of whole numbers"),
    ("order_rows", [0, 1], "gave a list to order_rows, not a list of updates"),
    ("order_rows", [[0.5]], "gave a list to order_rows, not a list of updates"),
    ("make_optimizer", NET, "gave a Linear to make_optimizer, not a torch.optim.Optimizer"),
    ("make_schedule", [0.1, 0.2], "gave a list to make_schedule, not a function"),
    ("train_step", {"loss": 1}, "gave a dict to train_step, not a StepOut"),
    (
        "train_step",
        StepOut(1.5),
        "gave a StepOut whose loss is 1.5 to train_step, not a tensor of one number",
    ),
    ("evaluated_weights", NET, "gave a Linear to evaluated_weights, not a context manager"),
    ("evaluate", "accuracy", "gave a str to evaluate, not a list of Score"),
    ("evaluate", 5, "gave an int to evaluate, not a list of Score"),
    (
        "evaluate",
        [{"accuracy": 0.5}],
        "gave a list with a dict in it to evaluate, not a list of Score",
    ),
    (
        "evaluate",
        [Score("m", "high")],
        "gave a Score whose value is 'high' to evaluate, not a number",
    ),
    (
        "evaluate",
        [Score("m", 0.5, "up")],
        "gave a Score whose goal is 'up' to evaluate, not one of max, min, none",
    ),
    ("check_risks", "ok", "gave a str to check_risks, not a list of Risk"),
    ("check_risks", Risk("a", "ok", "fine"), "gave a Risk to check_risks, not a list of Risk"),
    (
        "check_risks",
        [Risk("a", "catastrophe", "fine")],
        "gave a Risk whose level is 'catastrophe' to check_risks, not one of",
    ),
    (
        "check_risks",
        [Risk("a", "warn", "f", advice="ftp run")],
        "gave a Risk whose advice is 'ftp run' to check_risks",
    ),
    ("reward", [0.5], "gave a list to reward, not a Reward"),
    (
        "reward",
        Reward("a", ["high"]),
        "gave a Reward whose values is a list to reward, not a list of finite numbers",
    ),
    (
        "reward",
        Reward("a", [0.5, math.nan]),
        "gave a Reward whose values is a list to reward, not a list of finite numbers",
    ),
    ("on_event", "stop please", "gave a str to on_event, not a Stop"),
]


@pytest.mark.parametrize(
    ("hook", "answer", "message"),
    WRONG,
    ids=[f"{hook}-{n}" for n, (hook, _, _) in enumerate(WRONG)],
)
def test_a_wrong_answer_names_plugin_package_and_hook(hook: str, answer: Any, message: str) -> None:
    with pytest.raises(PluginError) as caught:
        ask(relay(hook, answer), hook)
    assert str(caught.value).startswith(f"plugin 'bad' (ftp-bad 1.0) {message}")


RIGHT: list[tuple[str, Any]] = [
    ("load_data", {"train": ROWS, "test": ROWS.to_iterable_dataset()}),
    ("build_model", Model(NET, TOKENIZER, "labels", ("a", "b"))),
    (
        "train_step",
        StepOut(torch.tensor(1.0), {"a": torch.tensor(1.0)}, torch.tensor(1.0), 1, 2, 3),
    ),
    ("order_rows", ([0, 1], torch.arange(2).numpy())),
    ("make_optimizer", torch.optim.SGD(NET.parameters())),
    ("make_schedule", float),
    ("evaluate", (Score("m", torch.ones(1).numpy()[0], "none"), Score("n", 1))),
    ("evaluate", []),
    ("check_risks", [Risk("a", "not_run", "f", {"n": 1}, ["ftp run"])]),
    ("reward", Reward("a", torch.ones(2))),
    ("on_event", Stop("enough")),
]


@pytest.mark.parametrize(
    ("hook", "answer"), RIGHT, ids=[f"{hook}-{n}" for n, (hook, _) in enumerate(RIGHT)]
)
def test_a_right_answer_travels_as_it_is(hook: str, answer: Any) -> None:
    passed_on = ask(relay(hook, answer), hook)
    assert (passed_on[0].value if hook in COLLECTED else passed_on) is answer


NO_TOTAL = dataclasses.replace(LossOut(torch.tensor(1.0)))
object.__delattr__(NO_TOTAL, "total")
RIGHT_ANSWERS: dict[type, Any] = {
    Model: Model(NET, TOKENIZER, "labels"),
    WrappedLoss: loss(),
    Batch: Batch({}, 1, 1),
    LossOut: LossOut(torch.tensor(1.0), row_losses=torch.ones(1), row_counts=torch.ones(1)),
    Metric: Metric(),
    Prediction: Prediction("a", (0.5, 0.5)),
    StepOut: StepOut(torch.tensor(1.0), grad_norm=torch.tensor(1.0)),
    Score: Score("m", math.nan),  # a score may be undefined, as F1 without a row
    Risk: Risk("a", "ok", "f"),
    Reward: Reward("a", [0.5]),
    Stop: Stop("enough"),
    Offer: Offer(Path("weights")),
}
ANYTHING = {(Prediction, "answer"), (LossOut, "outputs"), (LossOut, "logits")}
"""Fields that an objective alone reads."""
FIELDS = [(kind, item) for kind in RIGHT_ANSWERS for item in dataclasses.fields(kind) if (kind, item.name) not in ANYTHING]


def check_of(kind: type) -> Check:
    """The check of an answer: a loss may be any object, as `Loss` is a protocol."""
    return a_loss if kind is WrappedLoss else instance(kind)


def named(kind: type) -> str:
    return "Loss" if kind is WrappedLoss else kind.__name__


@pytest.mark.parametrize("kind", RIGHT_ANSWERS)
def test_an_answer_whose_fields_are_right_passes(kind: type) -> None:
    assert check_of(kind)(RIGHT_ANSWERS[kind]) is None


@pytest.mark.parametrize(("kind", "item"), FIELDS, ids=[f"{kind.__name__}-{item.name}" for kind, item in FIELDS])
def test_each_field_of_an_answer_is_named_where_it_holds_what_it_cannot(kind: type, item: Any) -> None:
    wrong: list[Any] = [object(), [object()]]
    if item.name not in ("inputs", "evidence"):  # which may hold anything
        wrong.append({1: object()})
    if "None" not in item.type:
        wrong.append(None)
    for value in wrong:
        mismatch = check_of(kind)(dataclasses.replace(RIGHT_ANSWERS[kind], **{item.name: value}))
        assert mismatch is not None and f"a {named(kind)} whose {item.name} is " in mismatch.actual.replace("an ", "a ", 1)
        assert mismatch.right


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (LossOut, {"total": torch.ones(1, dtype=torch.long)}, "whose total is a Tensor"),
        (LossOut, {"metrics": {"a": torch.ones(2)}}, "whose metrics is a dict"),
        (Batch, {"count": -1}, "whose count is -1"),
        (Prediction, {"scores": (0.5, "0.5")}, "whose scores is a tuple"),
        (StepOut, {"rows": True}, "whose rows is True"),
        (Reward, {"weight": math.inf}, "whose weight is inf"),
        (Score, {"n": -1}, "whose n is -1"),
        (WrappedLoss, {"metrics": {"a": "max"}}, "whose metrics is a dict"),
        (WrappedLoss, {"reuse": 0}, "whose reuse is 0"),
    ],
)
def test_a_value_of_the_right_type_that_cannot_be_is_named(kind: type, changes: dict[str, Any], message: str) -> None:
    mismatch = check_of(kind)(dataclasses.replace(RIGHT_ANSWERS[kind], **changes))
    assert mismatch is not None and message in mismatch.actual


def test_a_field_that_was_never_set_is_named() -> None:
    mismatch = instance(LossOut)(NO_TOTAL)
    assert mismatch is not None and mismatch.actual == "a LossOut whose total is None"


def _outermost(wrapper: Callable[..., Any], hook: str) -> type:
    wrapper.__name__ = hook
    return plugin(type("Wraps", (), {"__doc__": "Wraps.", hook: hookimpl(wrapper=True)(wrapper)}))


def test_a_wrapper_is_not_blamed_for_what_it_was_given() -> None:
    def wrap(self: Any) -> Any:
        return (yield)

    with pytest.raises(PluginError, match=r"plugin 'bad' .* gave an int to build_model"):
        ask(relay("build_model", 5, _outermost(wrap, "build_model")), "build_model")


def test_a_wrapper_is_blamed_for_what_it_gives() -> None:
    def text(self: Any) -> Any:
        yield
        return "model"

    def answer(self: Any) -> Any:
        yield
        return [[Score("m", 1.0)], "high"]

    def nothing(self: Any) -> Any:
        yield

    model = Model(NET, TOKENIZER, "labels")
    with pytest.raises(
        PluginError,
        match=r"plugin 'wraps' \(ftp-wraps 1.0\) gave a str to build_model, not a Model",
    ):
        ask(relay("build_model", model, _outermost(text, "build_model")), "build_model")
    with pytest.raises(
        PluginError, match=r"plugin 'wraps' .* gave a str to evaluate, not a list of Score"
    ):
        ask(relay("evaluate", [], _outermost(answer, "evaluate")), "evaluate")
    with pytest.raises(
        PluginError, match=r"plugin 'wraps' .* wrapped evaluate and gave back nothing"
    ):
        ask(relay("evaluate", [], _outermost(nothing, "evaluate")), "evaluate")


def test_a_wrapper_that_yields_twice_or_never_is_named() -> None:
    def twice(self: Any) -> Any:
        model = yield
        yield
        return model

    def never(self: Any) -> Any:
        if self is None:
            yield
        return 5

    model = Model(NET, TOKENIZER, "labels")
    with pytest.raises(PluginError, match=r"plugin 'wraps' .* wraps build_model and yields twice"):
        ask(relay("build_model", model, _outermost(twice, "build_model")), "build_model")
    with pytest.raises(
        PluginError, match=r"plugin 'wraps' .* wraps build_model but ended before it yielded"
    ):
        ask(relay("build_model", model, _outermost(never, "build_model")), "build_model")


def _lazily(rows: Any, split: str) -> Iterator[Any]:
    yield from ("text" for _ in rows)


FUNCTIONS: list[tuple[str, Any, tuple[Any, ...], str]] = [
    (
        "compute",
        lambda batch: 1.0,
        (None,),
        "gave a float to Loss.compute (of make_loss), not a LossOut",
    ),
    (
        "compute",
        lambda batch: LossOut(torch.ones(2)),
        (None,),
        "gave a LossOut whose total is a Tensor to Loss.compute",
    ),
    ("collate", lambda rows: {}, ([],), "gave a dict to Loss.collate (of make_loss), not a Batch"),
    (
        "collate",
        lambda rows: Batch({}, 1.5, 1),
        ([],),
        "gave a Batch whose count is 1.5 to Loss.collate",
    ),
    (
        "answer",
        lambda batch, out: [0, 1],
        (None, None),
        "gave a list with an int in it to Loss.answer (of make_loss)",
    ),
    (
        "merge",
        lambda predictions, rows: "a",
        ([], []),
        "gave a str to Loss.merge (of make_loss), not a Prediction",
    ),
    (
        "rollout",
        lambda prompts, number: [1],
        ([], 0),
        "gave a list with an int in it to Loss.rollout",
    ),
    (
        "encode",
        lambda rows: None,
        ([],),
        "gave None to Loss.encode (of make_loss), not encoded rows",
    ),
    ("encode", lambda rows: [[1, 2]], ([],), "gave a list as a row to Loss.encode"),
    (
        "encode",
        lambda rows: [{"ids": [1]}],
        ([],),
        "gave a row without input_ids (it has: ids) to Loss.encode",
    ),
    ("encode", _lazily, ([1], "train"), "gave a str as a row to Loss.encode"),
    (
        "encode",
        lambda rows: [{"input_ids": "a text"}],
        ([],),
        "gave a row whose input_ids is 'a text' to Loss.encode (of make_loss), not a list of whole numbers",
    ),
    (
        "encode",
        lambda rows: [{"input_ids": [1, None]}],
        ([],),
        "gave a row whose input_ids is [1, None] to Loss.encode",
    ),
    (
        "collate",
        lambda rows: Batch({}, 1, 1),
        ([{"input_ids": [1]}] * 2,),
        "gave a Batch of 1 rows to Loss.collate (of make_loss), not one of the 2 that it was given",
    ),
    (
        "answer",
        lambda batch, out: [Prediction(0)],
        (Batch({}, 2, 2), None),
        "gave 1 predictions to Loss.answer (of make_loss), not one for each of 2 rows",
    ),
    (
        "compute",
        lambda batch: LossOut(torch.tensor(1.0), row_losses=torch.ones(2, 1)),
        (Batch({}, 2, 2),),
        "gave a LossOut whose row_losses has shape 2x1 to Loss.compute (of make_loss), not one number for each of 2 rows",
    ),
]


FUNCTION_IDS = [f"{name}-{number}" for number, (name, *_) in enumerate(FUNCTIONS)]


@pytest.mark.parametrize(("name", "function", "arguments", "message"), FUNCTIONS, ids=FUNCTION_IDS)
def test_what_a_function_of_the_loss_gives_is_checked(
    name: str, function: Any, arguments: Any, message: str
) -> None:
    checked = ask(relay("make_loss", loss(**{name: function})), "make_loss")
    with pytest.raises(PluginError) as caught:
        result = getattr(checked, name)(*arguments)
        list(result)  # what is lazy is checked while it is read
    assert str(caught.value).startswith(f"plugin 'bad' (ftp-bad 1.0) {message}")


def _raises(error: BaseException) -> Callable[..., Any]:
    def function(*arguments: Any) -> Any:
        raise error

    return function


def _raises_while_read(rows: Any, split: str) -> Iterator[Any]:
    yield {"input_ids": [1]}
    raise ValueError("boom")


RAISED = [
    *((name, _raises(ValueError("boom"))) for name in ("compute", "collate", "answer", "merge", "rollout", "encode")),
    ("encode", _raises_while_read),
]


@pytest.mark.parametrize(("name", "function"), RAISED)
def test_what_a_function_of_the_loss_raises_names_plugin_package_and_function(name: str, function: Any) -> None:
    checked = ask(relay("make_loss", loss(**{name: function})), "make_loss")
    with pytest.raises(PluginError) as caught:
        list(getattr(checked, name)(None, None))
    message = f"plugin 'bad' (ftp-bad 1.0) failed in Loss.{name} (of make_loss): ValueError: boom"
    assert str(caught.value) == message and isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("too much"), UserError("no"), PluginError("it"), KeyboardInterrupt()])
def test_what_the_loop_or_the_user_is_told_travels_through_a_loss_as_it_is(error: BaseException) -> None:
    checked = ask(relay("make_loss", loss(compute=_raises(error))), "make_loss")
    with pytest.raises(type(error)) as caught:
        checked.compute(None)
    assert caught.value is error


def test_a_wrapper_answers_for_its_own_function_of_the_loss_alone() -> None:
    def wrap(self: Any) -> Any:
        inner = yield
        return wrapped(inner, compute=lambda batch: 1.0)

    checked = ask(
        relay("make_loss", loss(collate=lambda rows: 5), _outermost(wrap, "make_loss")), "make_loss"
    )
    with pytest.raises(PluginError, match=r"plugin 'wraps' .* gave a float to Loss.compute"):
        checked.compute(None)
    with pytest.raises(PluginError, match=r"plugin 'bad' .* gave an int to Loss.collate"):
        checked.collate([])
    rows: list[Row] = [{"text": "a"}, {"text": "b"}]
    assert list(checked.encode(rows)) == [{"input_ids": [1]}, {"input_ids": [1]}]


def model_of(**changes: Any) -> Model:
    """A model as the rest of a run gets it from a plugin `bad`."""
    checked: Model = ask(relay("build_model", dataclasses.replace(RIGHT_ANSWERS[Model], **changes)), "build_model")
    return checked


def test_what_saves_a_model_is_named_where_it_fails_and_the_disk_where_that_does() -> None:
    named = r"plugin 'bad' \(ftp-bad 1.0\) failed in Model.save \(of build_model\): ValueError: boom"
    with pytest.raises(PluginError, match=named):
        model_of(save=_raises(ValueError("boom"))).save(Path())  # type: ignore[misc]
    with pytest.raises(UserError, match="the disk is full"):
        model_of(save=_raises(OSError(28, "No space left on device"))).save(Path())  # type: ignore[misc]


@contextlib.contextmanager
def _fails_inside(before: BaseException | None, after: BaseException | None) -> Iterator[Any]:
    if before is not None:
        raise before
    with contextlib.suppress(LookupError):
        yield NET
    if after is not None:
        raise after


REFERENCE = r"plugin 'bad' \(ftp-bad 1.0\) {} Model.reference \(of build_model\)"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (_raises(ValueError("boom")), REFERENCE.format("failed in") + ": ValueError: boom"),
        (lambda: _fails_inside(ValueError("boom"), None), REFERENCE.format("failed in") + ": ValueError: boom"),
        (lambda: _fails_inside(None, ValueError("boom")), REFERENCE.format("failed in") + ": ValueError: boom"),
        (lambda: NET, REFERENCE.format("gave a Linear to") + ", not a context manager that yields the network"),
        (lambda: contextlib.nullcontext("net"), REFERENCE.format("gave a str to") + ", not a context manager that yields"),
    ],
)
def test_the_reference_of_a_model_is_named_where_it_fails(reference: Any, message: str) -> None:
    with pytest.raises(PluginError, match=message), model_of(reference=reference).reference():  # type: ignore[misc]
        pass


def test_what_is_raised_inside_a_reference_is_not_the_plugin_s_and_not_swallowed() -> None:
    error = KeyError("ours")  # a LookupError, which that reference would swallow
    with pytest.raises(KeyError) as caught, model_of(reference=lambda: _fails_inside(None, None)).reference():  # type: ignore[misc]
        raise error
    assert caught.value is error
    with model_of(reference=lambda: _fails_inside(None, None)).reference() as net:  # type: ignore[misc]
        assert net is NET


def test_what_hides_gives_a_text() -> None:
    @plugin
    class Hides:
        """Hides."""

        @hookimpl
        def hide(self, text: str) -> Any:
            return text.replace("Anna", "*")

    @plugin
    class Forgets:
        """Gives nothing."""

        @hookimpl
        def hide(self, text: str) -> Any:
            return None

    task = Task("labelled", "labels")
    assert Run(Settings(), task, relay_of(Hides)).hidden({"Anna": ["Anna B"]}) == {"*": ["* B"]}
    with pytest.raises(
        PluginError, match=r"plugin 'forgets' \(ftp-forgets 1.0\) gave None to hide, not a text"
    ):
        Run(Settings(), task, relay_of(Hides, Forgets)).hidden("Anna")
