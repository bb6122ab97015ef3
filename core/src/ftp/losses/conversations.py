"""Conversations as token ids: which tokens the assistant wrote, where a turn ends.

A row is rendered by the template that generation uses and tokenised once as a whole, so training and inference read the
same tokens. The assistant's tokens are found from the template's own `{% generation %}` markers, or, for a template
without them, from the text that each turn adds, which is exact as long as earlier turns do not change when others follow
(the prefix property); where they do change, that is said and nothing is guessed. No torch here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from ftp.data import chat_rows
from ftp.data.control_text import TextTokenizer, looked_for, turn_markers
from ftp.data.turns import Message, Unfit, content_text, is_trained
from ftp.losses import rendering
from ftp.losses.stretches import Span, between, of_turns, token_spans, total_size

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Which = Literal["answers", "last", "all"]
"""Which tokens are trained: those of every assistant turn, of the last one, or all."""

_MARKERS = re.compile(r"\{%-?\s*generation\s*-?%\}")
PROBE: list[Message] = [
    {"role": "user", "content": "Is water wet?"},
    {"role": "assistant", "content": "Yes, it is."},
]


@dataclass(frozen=True)
class Encoded:
    """A conversation as token ids; `spans`: the trained stretches of them. `cut`: tokens that did not fit, `answer_cut` of
    them from trained stretches."""

    ids: list[int]
    spans: list[Span]
    cut: int = 0
    answer_cut: int = 0


@dataclass(frozen=True)
class Chat:
    """A tokenizer with a chat template that was checked (`chat_template.prepare` makes it).

    `source`: where the template came from. `stop`: ids that end an answer. `notes`: what a user should know.
    `marked`: gives a version of the template with markers, asked for only where the prefix property fails.
    `apart`: an encoder reads the prompt and a decoder writes the answer (`ftp.losses.encoder_decoder`).
    """

    tokenizer: PreTrainedTokenizerBase
    source: str
    stop: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    marked: Callable[[], str | None] | None = None
    apart: bool = False
    split_special_tokens: bool = True

    @cached_property
    def content(self) -> TextTokenizer:
        """How rendered conversations become tokens: those of the template are tokens, those that messages spell are text."""
        plain = TextTokenizer(self.tokenizer, self.split_special_tokens)
        try:
            asked, opened = self.render(PROBE[:1], None)[0], self.render(PROBE[:1], None, ask=True)[0]
            answered = self.render(PROBE, None)[0]
        except Unfit:  # a template that refuses a question is told of in `chat_template.prepare`
            return plain
        template = str(self.tokenizer.get_chat_template())
        markers = turn_markers(self.tokenizer, asked, opened.removeprefix(asked), answered)
        return dataclasses.replace(plain, markers=markers, allowed=looked_for(template, plain.controls))

    @cached_property
    def ends(self) -> frozenset[int]:
        """Tokens that can end a turn: special ones, and others by which the template parts turns. Not every added token: an
        answer may itself end with `</tool_call>`."""
        return self.content.control_ids.union(self.tokenizer.all_special_ids)

    @cached_property
    def _end_strings(self) -> tuple[str, ...]:
        return tuple(self.tokenizer.convert_ids_to_tokens(sorted(self.ends)))

    @property
    def key(self) -> str:
        """What `Loss.key` must hold of this beside the tokenizer."""
        return self.content.key

    @property
    def sha256(self) -> str:
        """The hash of the template: the same in training and inference, or the answers are to another question."""
        return hashlib.sha256(json.dumps(self.tokenizer.chat_template, sort_keys=True).encode()).hexdigest()

    def prompt(self, messages: Sequence[Message], tools: Any = None) -> list[int]:
        """Token ids of a conversation up to where the assistant's answer begins. Raises `Unfit` where the template
        refuses it."""
        text, _ = self.render(self.content.hidden(messages), self.content.hidden(tools), ask=True)
        return list(self.content.rendered([text], return_attention_mask=False, verbose=False)["input_ids"][0])

    def encode(
        self, conversations: Sequence[Sequence[Message]], tools: Sequence[Any] = (), which: Which = "answers",
        begins: Sequence[int] = (),
    ) -> list[Encoded | Unfit]:
        """Each conversation with its trained stretches, or why it cannot be trained on. Nothing is cut here.

        `begins`: of each conversation the number of messages in its prompt, of which nothing is learnt. Turns that their row
        does not want to be learnt (`turns.is_trained`) are not.

        Every answer ends with its end-of-turn token, and that is trained; where the template writes none after the last
        answer, the EOS is added.
        """
        rendered: list[tuple[str, list[Span]] | Unfit] = []
        for number, messages in enumerate(conversations):
            own_tools = tools[number] if tools else None
            try:
                begin = begins[number] if begins else 0
                rendered.append(self._text(self.content.hidden(messages), self.content.hidden(own_tools), which, begin))
            except Unfit as error:
                rendered.append(error)
        texts = [one[0] for one in rendered if not isinstance(one, Unfit)]
        found = iter(self.tokens(texts)) if texts else iter(())
        return [one if isinstance(one, Unfit) else self._trained(*next(found), one[1], which) for one in rendered]

    def pairs(
        self, messages: Sequence[Message], tools: Any = None, which: Which = "answers"
    ) -> list[tuple[list[int], list[int], int]]:
        """Each answer of a conversation (`which` "last": its last one) apart from what comes before it: the token ids of the
        prompt, those of the answer with its end, and the number of messages in the prompt. Raises `Unfit`.

        Each is rendered as the end of a conversation, as it is when it is asked for, whatever follows it here.
        """
        messages, tools = self.content.hidden(messages), self.content.hidden(tools)
        answers = [place for place, turn in enumerate(messages) if place and turn["role"] == "assistant"]
        places = [place for place in (answers if which == "answers" else answers[-1:]) if is_trained(messages[place])]
        if not places:
            raise Unfit("has no turn of the assistant that answers anything "
                        f"(its roles: {_roles(messages)}), so there is nothing to learn")
        found = []
        for place in places:
            text, spans = self._text(messages[: place + 1], tools, "last")
            words = text[slice(*spans[-1])]
            said = self._trained(*self.tokens([words])[0], [(0, len(words))], "last")
            found.append((self.prompt(messages[:place], tools), said.ids, place))
            if not all(found[-1][:2]):
                raise Unfit("has an empty prompt or answer")
        return found

    # --- text ---

    def render(
        self, messages: Sequence[Message], tools: Any, *, ask: bool = False, template: str | None = None
    ) -> tuple[str, list[Span]]:
        """The text of a conversation, and the stretches of it that the template marks."""
        template = template or self.tokenizer.get_chat_template(tools=tools)
        specials = self.tokenizer.special_tokens_map
        try:
            return rendering.render(template, rendering.for_template(messages, template, specials), tools, specials, ask=ask,
                                    marks=bool(_MARKERS.search(template)))
        except Exception as error:  # whatever a template raises is its way to refuse
            refused = self._refused_part(messages, tools, template, ask)
            place = f" at {refused}" if refused else ""
            raise Unfit(f"is refused by the chat template{place}: {type(error).__name__}: {error}") from error

    def _refused_part(self, messages: Sequence[Message], tools: Any, template: str, ask: bool) -> str:
        """The part of a conversation that its template refuses: the tools, the turn that the turns before it could do without, or
        the first turn. Empty where leaving out one part does not help."""
        specials = self.tokenizer.special_tokens_map

        def is_taken(turns: Sequence[Message], listed: Any) -> bool:
            try:
                rendering.render(template, rendering.for_template(turns, template, specials), listed, specials, ask=ask)
            except Exception:  # whatever a template raises is its way to refuse
                return False
            return True

        if tools and is_taken(messages, None):
            return "its tools"
        for place in range(len(messages) - 1, 0, -1):
            if is_taken(messages[:place], tools):
                return f"messages[{place}] (role {messages[place]['role']})"
        if len(messages) > 1 and is_taken(messages[1:], tools):
            return f"messages[0] (role {messages[0]['role']})"
        return ""

    def _text(self, messages: Sequence[Message], tools: Any, which: Which, begin: int = 0) -> tuple[str, list[Span]]:
        """The text of a conversation with the stretches that are trained, none of them in the first `begin` messages."""
        template = self.tokenizer.get_chat_template(tools=tools)
        text, marks = self.render(messages, tools, template=template)
        answers = [place for place, turn in enumerate(messages) if turn["role"] == "assistant"]
        learnt = [place for place in answers if place >= begin and is_trained(messages[place])]
        self._refuse_lost_calls(messages, learnt, template)
        if which == "all":
            apart = [place for place in answers if not is_trained(messages[place])]
            spans = self._spans(messages, tools, text, template, marks, answers, apart) if apart else []
            return text, between(spans, len(text))
        if which == "last":
            learnt = [place for place in learnt if place == answers[-1]]
        if not answers:
            raise Unfit(f"has no turn of the assistant (its roles: {_roles(messages)}), so there is nothing to learn")
        if not learnt:
            raise Unfit("has no turn of the assistant that is to be learnt (their weight is 0 or train is false)")
        spans = self._spans(messages, tools, text, template, marks, answers, learnt)
        if not spans:
            raise Unfit("has no turn that the chat template takes for the assistant's")
        return text, spans

    def _refuse_lost_calls(self, messages: Sequence[Message], learnt: Sequence[int], template: str) -> None:
        """Raise `Unfit` for a turn to learn of which the template would write nothing."""
        for place in learnt:
            calls_alone = messages[place].get("tool_calls") and not content_text(messages[place]).strip()
            if calls_alone and not rendering.writes_calls(template, self.tokenizer.special_tokens_map):
                raise Unfit(f"calls a tool in messages[{place}].tool_calls, and the chat template leaves calls of tools out, so "
                            "that an empty answer would be learnt")

    def _spans(
        self, messages: Sequence[Message], tools: Any, text: str, template: str, marks: list[Span], answers: Sequence[int],
        wanted: Sequence[int],
    ) -> list[Span]:
        """The stretches of `wanted`, some of the assistant's turns (`answers`)."""
        if _MARKERS.search(template):
            return of_turns(marks, answers, wanted) if marks else []
        return self._added(messages, tools, text, answers, wanted)

    def _added(
        self, messages: Sequence[Message], tools: Any, text: str, answers: Sequence[int], wanted: Sequence[int]
    ) -> list[Span]:
        """The stretches that turns of the assistant add to the text. The first message is no answer to anything."""
        spans = []
        for place in (place for place in wanted if place):
            start, _ = self.render(messages[:place], tools, ask=True)
            end = text if place == len(messages) - 1 else self.render(messages[: place + 1], tools)[0]
            if not (end.startswith(start) and text.startswith(end)):
                return of_turns(self._remarked(messages, tools, text, place), answers, wanted)
            spans.append((len(start), self._turn_end(text, len(start), len(end))))
        return spans

    def _remarked(self, messages: Sequence[Message], tools: Any, text: str, place: int) -> list[Span]:
        """The stretches by a version of the template with markers, if that gives the same text."""
        template = self.marked() if self.marked else None
        if template is not None and _MARKERS.search(template):
            again, spans = self.render(messages, tools, template=template)
            if again == text:
                return spans
        raise Unfit(f"is rendered otherwise up to message {place} once other messages follow: the chat template has no "
                    "generation markers and does not keep its prefix, so the assistant's tokens cannot be told exactly")

    def _turn_end(self, text: str, start: int, end: int) -> int:
        """`end` without the white space that follows the end-of-turn token."""
        closed = text[start:end].rstrip()
        return start + len(closed) if closed.endswith(self._end_strings) else end

    # --- tokens ---

    def tokens(self, texts: Sequence[str]) -> list[tuple[list[int], list[Span]]]:
        """Token ids of each text with the characters of each token."""
        found = self.content.rendered(texts, return_offsets_mapping=True, return_attention_mask=False, truncation=False,
                                      verbose=False)
        return list(zip(found["input_ids"], found["offset_mapping"], strict=True))

    def _trained(self, ids: list[int], places: list[Span], spans: list[Span], which: Which) -> Encoded:
        """Stretches of characters as stretches of tokens, each closed by an end-of-turn token."""
        if which == "all" and len(spans) == 1 and (not places or (spans[0][0] == 0 and spans[0][1] >= places[-1][1])):
            return Encoded(ids, [(0, len(ids))])
        if which == "all":  # some turns are only read
            return Encoded(ids, token_spans(places, spans))
        made = list[Span]()
        for first, last in spans:
            inside = [n for n, (a, b) in enumerate(places) if a < last and b > first]
            if not inside:
                continue
            start, end = inside[0], inside[-1] + 1
            if not any(one in self.ends for one in without_white_space(self.tokenizer, ids[start:end])[-1:]):
                if end < len(ids) and ids[end] in self.ends and ids[end] != self.tokenizer.bos_token_id:
                    end += 1  # markers around the words alone: the end of the turn is the assistant's as well
                elif end == len(ids) and self.tokenizer.eos_token_id is not None:
                    ids, end = [*ids, int(self.tokenizer.eos_token_id)], end + 1
            made.append((start, end))
        return Encoded(ids, made)


def _roles(messages: Sequence[Message]) -> str:
    return ", ".join(dict.fromkeys(str(one["role"]) for one in messages)) or "none"


def truncated(one: Encoded, limit: int) -> Encoded:
    """The first `limit` tokens. `spans` is empty where no trained token is left."""
    if len(one.ids) <= limit:
        return one
    spans = [(start, min(end, limit)) for start, end in one.spans if start < limit]
    if not any(end > max(start, 1) for start, end in spans):  # a row's first token is never predicted
        spans = []
    lost = total_size(one.spans) - total_size(spans)
    return Encoded(one.ids[:limit], spans, len(one.ids) - limit, lost)


def tools_of(row: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The tools of a row (see `ftp.data.chat_rows.tools`)."""
    return chat_rows.tools(row)


def without_white_space(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[int]:
    """The ids without white space at the end."""
    kept = list(ids)
    while len(kept) > 1 and not str(tokenizer.decode(kept[-1:])).strip():
        kept.pop()
    return kept
