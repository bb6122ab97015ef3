"""A property, held against random conversations: whatever its spelling, a row reaches every objective in the token ids that
`apply_chat_template` gives its messages and tools, or is refused in words that name the row and the field.

Each test draws 40 examples, the same each time. `FTP_FUZZ=300 pytest tests/test_whole_messages.py` draws 300, others each time.
"""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets.arrow_dataset
import datasets.fingerprint
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftp import model as models
from ftp.data import convert, tables, turns
from ftp.data.read import read
from ftp.data.target_form import shape
from ftp.errors import UserError
from ftp.losses import chat_template, rendering
from ftp.settings import Settings
from ftp.types import Data, Loss, Run, Task
from ftp_preference import Dpo, Kto, Orpo, Simpo
from ftp_reward import Reward
from ftp_rlhf import Rlhf
from ftp_sft import Sft
from ftp_testing.models import tiny

CALLS = (
    "{%- if message.reasoning_content %}{{ '<think>' + message.reasoning_content + '</think>' }}{% endif %}"
    "{%- for call in message.tool_calls or [] %}{{ '<call>' + call.function.name + ' ' }}"
    "{%- if call.function.arguments is string %}{{ call.function.arguments }}"
    "{%- else %}{{ call.function.arguments | tojson }}{% endif %}{{ '</call>' }}{% endfor %}"
)
HEAD = ("{%- if tools %}{{ '<|im_start|>tools' }}{% for tool in tools %}{{ tool | tojson }}{% endfor %}"
        "{{ '<|im_end|>\n' }}{% endif %}")
TURN = ("{%- for message in messages %}{{ '<|im_start|>' + message.role + (' ' + message.name if message.name else '') + '\n' }}"
        "CONTENT" + CALLS + "{{ '<|im_end|>\n' }}{% endfor %}"
        "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
TEMPLATES = {
    "text": HEAD + TURN.replace("CONTENT", "{%- if message.content %}{{ message.content }}{% endif %}"),
    "parts": HEAD + TURN.replace(
        "CONTENT", "{%- if message.content is string %}{{ message.content }}{% else %}"
        "{% for part in message.content or [] %}{{ '[' + part.text + ']' }}{% endfor %}{% endif %}"),
}
"""Templates that write everything, one that takes text alone and one that reads parts."""

STRICT = {
    "turns alternate": (
        "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
        "{% for message in messages %}"
        "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('turns alternate') }}{% endif %}"
        "{{ '<|im_start|>' + ('model' if message.role == 'assistant' else message.role) + '\n' }}"
        "{{ message.content | trim + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>model\n' }}{% endif %}"),
    "one call a turn": (
        "{{ bos_token + '<|im_start|>system\n' }}{% set turns = messages %}"
        "{% if messages[0].role == 'system' %}{{ messages[0].content | trim }}{% set turns = messages[1:] %}{% endif %}"
        "{{ '<|im_end|>' }}"
        "{% if tools %}{{ '<|im_start|>user\n' }}{% for tool in tools %}{{ tool | tojson(indent=4) + '\n' }}{% endfor %}"
        "{{ turns[0].content | trim + '<|im_end|>' }}{% set turns = turns[1:] %}{% endif %}"
        "{% for message in turns %}"
        "{% if 'tool_calls' in message %}"
        "{% if message.tool_calls | length != 1 %}{{ raise_exception('one call at once') }}{% endif %}"
        "{% set call = message.tool_calls[0].function %}"
        "{{ '<|im_start|>assistant\n{\"name\": \"' + call.name + '\", \"parameters\": ' }}"
        "{{ call.arguments | tojson + '}<|im_end|>' }}"
        "{% else %}{{ '<|im_start|>' + ('ipython' if message.role == 'tool' else message.role) + '\n' }}"
        "{{ message.content | trim + '<|im_end|>' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"),
}  # fmt: skip
"""Templates in the manner of Gemma's and Llama's, which refuse conversations and leave out much of what rows hold."""

# --- conversations ---

words = st.text("ab é.\"'{}\\<\n|", min_size=1, max_size=12).map(lambda text: "x" + text)
numbers = st.one_of(st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, words),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)), max_leaves=6)
arguments = st.one_of(st.dictionaries(words, values, max_size=3), st.dictionaries(words, values, max_size=2).map(json.dumps))
functions = st.fixed_dictionaries({"name": words, "arguments": arguments})
calls = st.lists(functions, min_size=1, max_size=3)
parts = st.lists(words.map(lambda text: {"type": "text", "text": text}), min_size=1, max_size=3)
tool = st.fixed_dictionaries({
    "type": st.just("function"), "function": st.fixed_dictionaries({"name": words, "parameters": values})})
tools_of_rows = st.one_of(st.none(), st.lists(tool, min_size=1, max_size=2))


@st.composite
def rounds(draw: Any) -> list[Any]:
    """What a user asks and the assistant answers, perhaps with calls of tools on the way."""
    messages: list[Any] = [{"role": "user", "content": draw(st.one_of(words, parts))}]
    if draw(st.booleans()):
        messages.append({"role": "assistant", "content": draw(st.sampled_from([None, "", "Wait."])),
                         "tool_calls": [{"id": f"call{number}", "type": "function", "function": call}
                                        for number, call in enumerate(draw(calls))]})
        if draw(st.booleans()):
            messages[-1]["reasoning_content"] = draw(words)
        for call in messages[-1]["tool_calls"]:
            name = call["function"]["name"]
            messages.append({"role": "tool", "tool_call_id": call["id"], "name": name, "content": draw(words)})
        if draw(st.booleans()):
            return messages[:2]  # it ends with the calls
    messages.append({"role": "assistant", "content": draw(st.one_of(words, parts))})
    if draw(st.booleans()):
        messages[-1]["reasoning_content"] = draw(words)
    return messages


@st.composite
def conversations(draw: Any) -> list[Any]:
    """A conversation of one or two rounds, with or without a system turn."""
    messages: list[Any] = [{"role": "system", "content": draw(words)}] if draw(st.booleans()) else []
    if draw(st.booleans()):
        messages += [{"role": "user", "content": draw(words)}, {"role": "assistant", "content": draw(words)}]
    return messages + draw(rounds())


def question_and_answer(texts: tuple[str | None, str, str]) -> list[Any]:
    """A system turn where it has a text, a question, and its answer."""
    system, question, answer = texts
    messages: list[Any] = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return [{"role": "system", "content": system}, *messages] if system else messages


plain = st.tuples(st.one_of(st.none(), words), words, words).map(question_and_answer)
"""Conversations that columns of texts can say."""

# --- spellings: (messages, tools) -> a row, and the messages that the row says ---

Row = dict[str, Any]
SHAREGPT = {"user": "human", "assistant": "gpt", "system": "system", "tool": "observation"}


def renamed(messages: list[Any], roles: Callable[[str], str]) -> list[Any]:
    renamed_turns = []
    for turn in messages:
        other = {key: value for key, value in turn.items() if key not in ("role", "content")}
        renamed_turns.append({"from": roles(turn["role"]), "value": turn["content"], **other})
    return renamed_turns


def with_nulls(messages: list[Any]) -> list[Any]:
    nulls = dict.fromkeys(set().union(*messages))
    return [{**nulls, **turn} for turn in messages]


def called(messages: list[Any]) -> tuple[list[Any], list[Any]]:
    """ShareGPT's turns of calls, and the messages that they say: such a turn has no id, content or reasoning."""
    row: list[Any] = []
    meant: list[Any] = []
    for turn in messages:
        if not turn.get("tool_calls"):
            row += renamed([turn], SHAREGPT.__getitem__)
            meant.append(turn)
            continue
        calls = [call["function"] for call in turn["tool_calls"]]
        row.append({"from": "function_call", "value": json.dumps(calls if len(calls) > 1 else calls[0])})
        meant.append({"role": "assistant", "tool_calls": [{"type": "function", "function": call} for call in calls]})
    return row, meant


def older(messages: list[Any]) -> tuple[list[Any], list[Any]]:
    """OpenAI's `function_call`, one a turn, and the messages that it says."""
    row: list[Any] = []
    meant: list[Any] = []
    for turn in messages:
        if not turn.get("tool_calls"):
            row.append(turn)
            meant.append(turn)
            continue
        call = turn["tool_calls"][0]["function"]
        rest = {key: value for key, value in turn.items() if key != "tool_calls"}
        row.append({**rest, "function_call": call})
        meant.append({**rest, "tool_calls": [{"type": "function", "function": call}]})
    return row, meant


def texts(messages: list[Any], asked: str, answered: str) -> Row:
    """Columns of texts."""
    system = {"system": messages[0]["content"]} if messages[0]["role"] == "system" else {"system": ""}
    return {**system, asked: messages[-2]["content"], answered: messages[-1]["content"]}


WHOLE: dict[str, Callable[[list[Any]], tuple[Row, list[Any]]]] = {
    "messages": lambda m: ({"messages": m}, m),
    "null fields": lambda m: ({"messages": with_nulls(m)}, m),
    "JSON text": lambda m: ({"messages": json.dumps(m)}, m),
    "Python text": lambda m: ({"messages": repr(m)}, m),
    "ShareGPT": lambda m: ({"conversations": renamed(m, SHAREGPT.__getitem__)}, m),
    "capitals": lambda m: ({"conversations": renamed(m, str.upper)}, m),
    "turns of calls": lambda m: ({"conversations": called(m)[0]}, called(m)[1]),
    "function_call": lambda m: ({"messages": older(m)[0]}, older(m)[1]),
    "prompt and completion": lambda m: ({"prompt": m[:-1], "completion": m[-1:]}, m),
}
TEXTS: dict[str, tuple[str, str]] = {
    "prompt and response": ("prompt", "response"), "Alpaca": ("instruction", "output"), "Dolly": ("instruction", "response"),
    "question and answer": ("question", "answer"),
}
PAIRS: dict[str, Callable[[list[Any], list[Any]], Row]] = {
    "explicit": lambda m, bad: {"prompt": m[:-1], "chosen": m[-1:], "rejected": bad},
    "implicit": lambda m, bad: {"chosen": m, "rejected": [*m[:-1], *bad]},
    "repeated": lambda m, bad: {"prompt": m[:-1], "chosen": m, "rejected": [*m[:-1], *bad]},
    "JSON text": lambda m, bad: {"prompt": json.dumps(m[:-1]), "chosen": json.dumps(m), "rejected": json.dumps(bad)},
    "ShareGPT": lambda m, bad: {"conversations": renamed(m[:-1], SHAREGPT.__getitem__),
                                "chosen": renamed(m[-1:], SHAREGPT.__getitem__)[0], "rejected": bad[0]},
}
BAD = [{"role": "assistant", "content": "Never."}]
OTHER = [{"type": "function", "function": {"name": "bank", "parameters": {"account": 1, "amount": 2.5}}}]
"""Tools of a row beside the others, whose fields must not be theirs."""

# --- what a row becomes ---


@pytest.fixture(scope="module", autouse=True)
def unnamed_tables() -> Iterator[None]:
    """`datasets` names each table by a pickle of its rows and of the function that changed them, which takes a third of the
    time here; no test reads the name, and tables in memory are not looked up by it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.arrow_dataset, "generate_fingerprint", lambda dataset: "unnamed")
        for module in (datasets.arrow_dataset, datasets.fingerprint):
            patch.setattr(module, "update_fingerprint", lambda *parts: "unnamed")
        yield


@pytest.fixture(scope="module", params=TEMPLATES)
def losses(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Loss]]:
    """The tokenizer, and the loss of each objective by name."""
    folder = tiny("llama", tmp_path_factory.mktemp("llama"), max_position_embeddings=8192)
    return losses_of(folder, TEMPLATES[request.param],
                     Sft(), Dpo(), Orpo(), Simpo(), Kto(), Reward(), Rlhf(max_completion_length=8, reward=()))


@pytest.fixture(scope="module", params=STRICT)
def strict_losses(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Loss]]:
    """The same of some objectives, with a template that refuses."""
    folder = tiny("llama", tmp_path_factory.mktemp("llama"), max_position_embeddings=8192)
    return losses_of(folder, STRICT[request.param], Sft(), Dpo(), Kto())


def losses_of(folder: Path, template: str, *plugins: Any) -> tuple[Any, dict[str, Loss]]:
    losses_by_name: dict[str, Loss] = {}
    for plugin in plugins:
        form = {"Sft": "conversation", "Kto": "feedback", "Rlhf": "prompt"}.get(type(plugin).__name__, "preference")
        head: Any = "score" if isinstance(plugin, Reward) else "tokens"
        model = models.load(models.Source(str(folder), folder=folder), head)
        model.tokenizer.chat_template, model.tokenizer.model_max_length = template, 8192
        run: Any = Run(Settings(max_length=8192), Task(form, head), None)  # type: ignore[arg-type]
        losses_by_name[type(plugin).__name__] = plugin.make_loss(run, Data({}, form), model)  # type: ignore[arg-type]
    return model.tokenizer, losses_by_name


def expected(tokenizer: Any, messages: list[Any], tools: Any, ask: bool = False) -> list[int]:
    """What `apply_chat_template` makes of the messages; of parts their text where the template takes text alone."""
    if not rendering.reads_parts(tokenizer.chat_template, rendering._frozen(tokenizer.special_tokens_map)):
        messages = [with_text_alone(turn) for turn in messages]
    return list(tokenizer.apply_chat_template(messages, tools=tools, return_dict=False, add_generation_prompt=ask))


def with_text_alone(turn: dict[str, Any]) -> dict[str, Any]:
    """The turn with its parts joined, as they are for a template that puts content into the text as it is."""
    if not isinstance(turn.get("content"), list):
        return turn
    return {**turn, "content": "\n".join(part["text"] for part in turn["content"])}


def encoded(loss: Loss, rows: list[Row], form: Any) -> list[Row]:
    rows_of_form = shape({"train": tables.from_rows(rows)}, form)[0]["train"]
    return list(loss.encode(tables.to_rows(rows_of_form)))


def is_whole(tokenizer: Any, ids: list[int], rendered: list[int]) -> bool:
    """Whether these are the ids, but for white space behind the last turn's end, which nothing reads."""
    return rendered[: len(ids)] == ids and not tokenizer.decode(rendered[len(ids) :]).strip()


EXAMPLES = int(os.environ.get("FTP_FUZZ", "0"))
BOUNDED = settings(max_examples=EXAMPLES or 40, deadline=None, suppress_health_check=list(HealthCheck),
                   derandomize=not EXAMPLES, database=None)  # fmt: skip


@BOUNDED
@given(spelling=st.sampled_from([*WHOLE]), talks=st.lists(st.tuples(conversations(), tools_of_rows), min_size=1, max_size=5))
def test_conversations_reach_sft_whole(losses: Any, spelling: str, talks: list[Any]) -> None:
    tokenizer, losses_by_name = losses
    spelt = [(*WHOLE[spelling](messages), listed) for messages, listed in talks]
    rows = [{**row, "tools": listed} for row, _, listed in spelt]
    rows.append({**WHOLE[spelling]([{"role": "user", "content": "x"}, *BAD])[0], "tools": OTHER})
    ids = [row["input_ids"] for row in encoded(losses_by_name["Sft"], rows, "conversation")]
    for row, (_, meant, listed) in zip(ids, spelt, strict=False):
        assert row == expected(tokenizer, meant, listed)


@BOUNDED
@given(spelling=st.sampled_from([*TEXTS]), talks=st.lists(plain, min_size=1, max_size=5),
       kind=st.sampled_from(["text", "functions"]))
def test_columns_of_texts_reach_sft_whole(losses: Any, spelling: str, talks: list[Any], kind: str) -> None:
    tokenizer, losses_by_name = losses
    tools = {"tools": json.dumps(OTHER)} if kind == "text" else {"functions": [OTHER[0]["function"]]}
    rows = [{**texts(messages, *TEXTS[spelling]), **tools} for messages in talks]
    for row, messages in zip(encoded(losses_by_name["Sft"], rows, "conversation"), talks, strict=True):
        assert row["input_ids"] == expected(tokenizer, messages, OTHER)


@BOUNDED
@given(objective=st.sampled_from(["Dpo", "Orpo", "Simpo", "Reward"]), spelling=st.sampled_from([*PAIRS]),
       talks=st.lists(st.tuples(conversations(), tools_of_rows), min_size=1, max_size=4))
def test_preferences_reach_every_objective_whole(losses: Any, objective: str, spelling: str, talks: list[Any]) -> None:
    tokenizer, losses_by_name = losses
    rows = [{**PAIRS[spelling](messages, BAD), "tools": listed} for messages, listed in talks]
    for row, (messages, listed) in zip(encoded(losses_by_name[objective], rows, "preference"), talks, strict=True):
        assert is_whole(tokenizer, row["input_ids"], expected(tokenizer, messages, listed))
        rejected = row.get("rejected_ids") or row["rejected_input_ids"]
        assert is_whole(tokenizer, rejected, expected(tokenizer, [*messages[:-1], *BAD], listed))


@BOUNDED
@given(talks=st.lists(st.tuples(conversations(), tools_of_rows), min_size=1, max_size=4), whole=st.booleans())
def test_ratings_and_prompts_are_whole(losses: Any, talks: list[Any], whole: bool) -> None:
    tokenizer, losses_by_name = losses
    rows = [{**({"messages": messages} if whole else {"prompt": messages[:-1], "completion": messages[-1:]}), "label": True,
             "tools": listed} for messages, listed in talks]
    for row, (messages, listed) in zip(encoded(losses_by_name["Kto"], rows, "feedback"), talks, strict=True):
        assert is_whole(tokenizer, row["input_ids"], expected(tokenizer, messages, listed))
    asked = [{"prompt": messages[:-1], "tools": listed} for messages, listed in talks]
    for row, (messages, listed) in zip(encoded(losses_by_name["Rlhf"], asked, "prompt"), talks, strict=True):
        assert row["input_ids"] == expected(tokenizer, messages[:-1], listed, ask=True)


@settings(BOUNDED, max_examples=EXAMPLES or 25)
@given(objective=st.sampled_from(["Sft", "Dpo", "Kto"]), messages=conversations(), tools=tools_of_rows)
def test_a_strict_template_gets_whole_messages_or_its_refusal_is_told(
    strict_losses: Any, objective: str, messages: list[Any], tools: Any
) -> None:
    tokenizer, losses_by_name = strict_losses
    rows: dict[str, tuple[str, Row]] = {
        "Sft": ("conversation", {"messages": messages}),
        "Dpo": ("preference", PAIRS["explicit"](messages, BAD)),
        "Kto": ("feedback", {"prompt": messages[:-1], "completion": messages[-1:], "label": True}),
    }
    form, row = rows[objective]
    try:
        rendered = expected(tokenizer, messages, tools)
    except Exception:  # as a template refuses
        rendered = None
    try:
        ids = encoded(losses_by_name[objective], [{**row, "tools": tools}], form)[0]["input_ids"]
    except UserError as error:
        quoted = re.search(r"(?:begins|asks) ('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")", str(error))
        assert quoted is not None, error
        excerpt = ast.literal_eval(quoted[1]).removesuffix("...")
        assert any(text.startswith(excerpt) for text in (turns.words(messages[0]), turns.last_question(messages[:-1])))
        if rendered is not None:
            assert re.search(r"messages\[\d+\]\.tool_calls", str(error)), error
        elif sum(turn["role"] in ("system", "tool") for turn in messages) == 1:
            assert re.search(r"at messages\[\d+\] \(role \w+\)", str(error)), error
    else:
        assert rendered is not None and is_whole(tokenizer, ids, rendered)


@pytest.mark.parametrize("spelling", WHOLE)
def test_a_stream_gives_the_ids_of_stored_rows(losses: Any, spelling: str, tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": {"a": 1, "b": [2.0, None]}}}
    asked = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": [{"type": "text", "text": "x"}]}]
    result = {"role": "tool", "tool_call_id": "c", "name": "f", "content": "y"}
    calls = {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "z"}
    talks: list[tuple[list[Any], Any]] = [
        ([*asked, calls, result, *BAD], OTHER), ([asked[1], *BAD], [{**OTHER[0], "strict": True}]), ([*asked, *BAD], None),
        ([asked[1], calls], OTHER)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({**WHOLE[spelling](messages)[0], "tools": tools}) + "\n" for messages, tools in talks))
    ids = []
    for streaming in (False, True):
        rows = shape(read(path, streaming=streaming), "conversation")[0]["train"]
        ids.append([row["input_ids"] for row in losses[1]["Sft"].encode(list(rows))])
    assert ids[0] == ids[1] and len(ids[0]) == len(talks)
    assert ids[0][0] == expected(losses[0], WHOLE[spelling](talks[0][0])[1], OTHER)


@BOUNDED
@given(talks=st.lists(st.tuples(conversations(), tools_of_rows), min_size=1, max_size=4))
def test_text_of_a_conversation_says_all_of_it(talks: list[Any]) -> None:
    rows = tables.from_rows([{"messages": messages, "tools": listed} for messages, listed in talks])
    converted = convert.convert(rows, "conversation", "text")
    for row, (messages, listed) in zip(converted, talks, strict=True):
        assert all(turns.words(turn) in row["text"] for turn in messages)
        assert all(turn.get("reasoning_content", "") in row["text"] for turn in messages)
        assert all(json.dumps(tool, ensure_ascii=False) in row["text"] for tool in listed or ())


@BOUNDED
@given(messages=conversations(), index=st.integers(0, 9), odd=st.sampled_from([
    ("content", 3), ("content", [{"type": "image", "image": "a.png"}]), ("content", {"text": "x"}), ("role", None),
    ("tool_calls", "x"), ("tool_calls", [1]), ("weight", 0.5), ("train", "no")]))
def test_what_is_no_message_is_refused_by_row_and_field(messages: list[Any], index: int, odd: tuple[str, Any]) -> None:
    index %= len(messages)
    name, value = odd
    if messages[index]["role"] == "tool" and name == "content":
        return  # a tool gives back what it likes
    broken = [*messages[:index], {**messages[index], name: value}, *messages[index + 1 :]]
    with pytest.raises(UserError) as caught:
        convert.convert(tables.from_rows([{"messages": messages}, {"messages": broken}]), "conversation", "conversation")
    assert "row 1 " in str(caught.value) and f"messages[{index}]" in str(caught.value)


def test_a_template_without_calls_refuses_an_empty_answer(tmp_path: Path) -> None:
    folder = tiny("llama", tmp_path)
    model = models.load(models.Source(str(folder), folder=folder), "tokens")
    talk: list[Any] = [{"role": "user", "content": "x"}, {"role": "assistant", "content": None, "tool_calls": [
        {"type": "function", "function": {"name": "f", "arguments": {}}}]}]
    model.tokenizer.chat_template = ("{% for m in messages %}{{ m.role + ':' + (m.content or '') + eos_token }}{% endfor %}"
                                     "{% if add_generation_prompt %}assistant:{% endif %}")
    refused = chat_template.prepare(model.tokenizer).encode([talk])[0]
    assert "messages[1].tool_calls" in str(refused)
