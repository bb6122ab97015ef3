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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import TYPE_CHECKING, Any

from ftp.data import chat_rows
from ftp.data.control_text import TextTokenizer, looked_for, turn_markers
from ftp.data.turns import Message, Unfit, content_text, is_trained
from ftp.losses import rendering
from ftp.losses.stretches import Encoded, Span, Which, between, of_turns, total_size, trained
from ftp.types import Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Chat", "tools_of"]

Tool = dict[str, Any]
"""A tool that an assistant may call, as JSON schema describes it."""

Tools = Sequence[Tool] | None
"""The tools of a conversation; None: it has none."""

_MARKERS = re.compile(r"\{%-?\s*generation\s*-?%\}")
"""What marks the assistant's tokens in a template, for Transformers as well."""
PROBE: list[Message] = [
    {"role": "user", "content": "Is water wet?"},
    {"role": "assistant", "content": "Yes, it is."},
]


@dataclass(frozen=True)
class Chat:
    """A tokenizer with a chat template that was checked (`chat_template.prepare` makes it).

    Attributes:
        tokenizer: the tokenizer, on which the template is set.
        source: where the template came from, in words.
        stop: ids that end an answer.
        notes: what a user should know of the template, in words.
        marked: gives a version of the template with markers, asked for only where the prefix property fails; None: there is
            none.
        apart: whether an encoder reads the prompt and a decoder writes the answer (`ftp.losses.encoder_decoder`).
        split_special_tokens: whether control tokens that messages spell stay text.
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
            asked, _ = self.render(PROBE[:1], None)
            opened, _ = self.render(PROBE[:1], None, ask=True)
            answered, _ = self.render(PROBE, None)
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

    def prompt(self, messages: Sequence[Message], tools: Tools = None) -> list[int]:
        """Token ids of a conversation up to where the assistant's answer begins.

        Args:
            messages: the turns before the answer.
            tools: the tools that it may call; None: it has none.

        Raises:
            Unfit: the template refuses it.
        """
        text, _ = self.render(self.content.hidden(messages), self.content.hidden(tools), ask=True)
        return list(self.content.rendered([text], return_attention_mask=False, verbose=False)["input_ids"][0])

    def encode(
        self, conversations: Sequence[Sequence[Message]], tools: Sequence[Tools] = (), which: Which = "answers",
        begins: Sequence[int] = (),
    ) -> list[Encoded | Unfit]:
        """Conversations with their trained stretches. Nothing is cut here.

        Turns that their row does not want to be learnt (`turns.is_trained`) are not. Every answer ends with its end-of-turn
        token, and that is trained; where the template writes none after the last answer, the EOS is added.

        Args:
            conversations: the messages of each.
            tools: the tools of each; empty: none has any.
            which: whose tokens are learnt: "answers", the "last" answer, or "all".
            begins: of each the number of messages in its prompt, of which nothing is learnt; empty: all may be.

        Returns:
            Each as token ids, or why it cannot be trained on.
        """
        rendered: list[tuple[str, list[Span]] | Unfit] = []
        for messages, own_tools, begin in zip(conversations, tools or repeat(None), begins or repeat(0), strict=False):
            hidden = self.content.hidden(messages)
            try:
                rendered.append(self._text(hidden, self.content.hidden(own_tools), which, begin))
            except Unfit as error:
                rendered.append(error)
        # one call for all texts: fast tokenizers work on a batch in parallel
        texts = [conversation[0] for conversation in rendered if not isinstance(conversation, Unfit)]
        tokenised = iter(self.tokens(texts) if texts else ())
        encoded: list[Encoded | Unfit] = []
        for conversation in rendered:
            if isinstance(conversation, Unfit):
                encoded.append(conversation)
                continue
            ids, offsets = next(tokenised)
            encoded.append(self._trained(ids, offsets, conversation[1], which))
        return encoded

    def pairs(
        self, messages: Sequence[Message], tools: Tools = None, which: Which = "answers"
    ) -> list[tuple[list[int], list[int], int]]:
        """Each answer of a conversation apart from what comes before it.

        Each is rendered as the end of a conversation, as it is when it is asked for, whatever follows it here.

        Args:
            messages: the conversation.
            tools: its tools; None: it has none.
            which: "answers" for all of them, "last" for the last one.

        Returns:
            The token ids of each prompt, those of the answer with its end, and the number of messages in the prompt.

        Raises:
            Unfit: there is no answer to learn, or the template refuses the conversation.
        """
        messages = self.content.hidden(messages)
        tools = self.content.hidden(tools)
        # the first message answers nothing, whoever wrote it
        answers = [turn for turn in _answers(messages) if turn > 0]
        wanted = answers if which == "answers" else answers[-1:]
        learnt = [turn for turn in wanted if is_trained(messages[turn])]
        if not learnt:
            raise Unfit("has no turn of the assistant that answers anything "
                        f"(its roles: {_roles(messages)}), so there is nothing to learn")
        pairs = []
        for turn in learnt:
            text, spans = self._text(messages[: turn + 1], tools, "last")
            words = text[slice(*spans[-1])]
            ids, offsets = self.tokens([words])[0]
            answer = self._trained(ids, offsets, [(0, len(words))], "last")
            prompt = self.prompt(messages[:turn], tools)
            if not prompt or not answer.ids:
                raise Unfit("has an empty prompt or answer")
            pairs.append((prompt, answer.ids, turn))
        return pairs

    # --- text ---

    def render(
        self, messages: Sequence[Message], tools: Tools, *, ask: bool = False, template: str | None = None
    ) -> tuple[str, list[Span]]:
        """The text of a conversation, and the stretches of it that the template marks."""
        template = template or self.tokenizer.get_chat_template(tools=tools)
        specials = self.tokenizer.special_tokens_map
        try:
            return rendering.render(template, rendering.for_template(messages, template, specials), tools, specials, ask=ask,
                                    marks=bool(_MARKERS.search(template)))
        except Exception as error:  # whatever a template raises is its way to refuse
            where = self._refused_part(messages, tools, template, ask)
            raise Unfit(f"is refused by the chat template{where}: {type(error).__name__}: {error}") from error

    def _refused_part(self, messages: Sequence[Message], tools: Tools, template: str, ask: bool) -> str:
        """Which part of a conversation its template refuses, as words behind the refusal: the tools, the turn that the turns
        before it could do without, or the first turn. Empty where leaving out one part does not help."""
        specials = self.tokenizer.special_tokens_map

        def is_taken(turns: Sequence[Message], listed: Tools) -> bool:
            try:
                rendering.render(template, rendering.for_template(turns, template, specials), listed, specials, ask=ask)
            except Exception:  # whatever a template raises is its way to refuse
                return False
            return True

        if tools and is_taken(messages, None):
            return " at its tools"
        # the turn at fault is the one without which the turns before it are taken
        for turn in range(len(messages) - 1, 0, -1):
            if is_taken(messages[:turn], tools):
                return f" at messages[{turn}] (role {messages[turn]['role']})"
        if len(messages) > 1 and is_taken(messages[1:], tools):
            return f" at messages[0] (role {messages[0]['role']})"
        return ""

    def _text(self, messages: Sequence[Message], tools: Tools, which: Which, begin: int = 0) -> tuple[str, list[Span]]:
        """The text of a conversation with the stretches that are trained, none of them in the first `begin` messages."""
        template = self.tokenizer.get_chat_template(tools=tools)
        text, marks = self.render(messages, tools, template=template)
        answers = _answers(messages)
        learnt = [turn for turn in answers if turn >= begin and is_trained(messages[turn])]
        self._refuse_lost_calls(messages, learnt, template)
        if which == "all":
            # everything is learnt but the assistant's turns that the row does not want to be
            unwanted = [turn for turn in answers if not is_trained(messages[turn])]
            if not unwanted:
                return text, [(0, len(text))]
            return text, between(self._spans(messages, tools, text, template, marks, answers, unwanted), len(text))
        if which == "last":
            learnt = [turn for turn in learnt if turn == answers[-1]]
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
        for turn in learnt:
            calls_alone = messages[turn].get("tool_calls") and not content_text(messages[turn]).strip()
            if calls_alone and not rendering.writes_calls(template, self.tokenizer.special_tokens_map):
                raise Unfit(f"calls a tool in messages[{turn}].tool_calls, and the chat template leaves calls of tools out, so "
                            "that an empty answer would be learnt")

    def _spans(
        self, messages: Sequence[Message], tools: Tools, text: str, template: str, marks: list[Span], answers: Sequence[int],
        wanted: Sequence[int],
    ) -> list[Span]:
        """The stretches of `wanted`, some of the assistant's turns (`answers`)."""
        if _MARKERS.search(template):
            return of_turns(marks, answers, wanted) if marks else []
        return self._added(messages, tools, text, answers, wanted)

    def _added(
        self, messages: Sequence[Message], tools: Tools, text: str, answers: Sequence[int], wanted: Sequence[int]
    ) -> list[Span]:
        """The stretches that turns of the assistant add to the text. The first message is no answer to anything."""
        spans = []
        for turn in wanted:
            if turn == 0:
                continue
            before, _ = self.render(messages[:turn], tools, ask=True)
            is_last = turn == len(messages) - 1
            after = text if is_last else self.render(messages[: turn + 1], tools)[0]
            # the prefix property: a turn adds to the text before it, and later turns change neither
            if not (after.startswith(before) and text.startswith(after)):
                return of_turns(self._remarked(messages, tools, text, turn), answers, wanted)
            spans.append((len(before), self._turn_end(text, len(before), len(after))))
        return spans

    def _remarked(self, messages: Sequence[Message], tools: Tools, text: str, turn: int) -> list[Span]:
        """The stretches by a version of the template with markers, if that gives the same text."""
        template = self.marked() if self.marked else None
        if template is not None and _MARKERS.search(template):
            again, spans = self.render(messages, tools, template=template)
            if again == text:
                return spans
        raise Unfit(f"is rendered otherwise up to message {turn} once other messages follow: the chat template has no "
                    "generation markers and does not keep its prefix, so the assistant's tokens cannot be told exactly")

    def _turn_end(self, text: str, start: int, end: int) -> int:
        """`end` without the white space that follows the end-of-turn token."""
        closed = text[start:end].rstrip()
        return start + len(closed) if closed.endswith(self._end_strings) else end

    # --- tokens ---

    def tokens(self, texts: Sequence[str]) -> list[tuple[list[int], list[Span]]]:
        """Token ids of each text with the characters of each token."""
        tokenised = self.content.rendered(texts, return_offsets_mapping=True, return_attention_mask=False,
                                          truncation=False, verbose=False)
        return list(zip(tokenised["input_ids"], tokenised["offset_mapping"], strict=True))

    def _trained(self, ids: list[int], offsets: list[Span], spans: list[Span], which: Which) -> Encoded:
        """Stretches of characters as stretches of tokens; see `stretches.trained`."""
        return trained(self.tokenizer, self.ends, ids, offsets, spans, which)


def _answers(messages: Sequence[Message]) -> list[int]:
    """The numbers of the assistant's turns."""
    return [turn for turn, message in enumerate(messages) if message["role"] == "assistant"]


def _roles(messages: Sequence[Message]) -> str:
    return ", ".join(dict.fromkeys(str(message["role"]) for message in messages)) or "none"


def truncated(conversation: Encoded, limit: int) -> Encoded:
    """The first `limit` tokens. `spans` is empty where no trained token is left."""
    if len(conversation.ids) <= limit:
        return conversation
    spans = [(start, min(end, limit)) for start, end in conversation.spans if start < limit]
    if not any(end > max(start, 1) for start, end in spans):  # a row's first token is never predicted
        spans = []
    lost = total_size(conversation.spans) - total_size(spans)
    return Encoded(conversation.ids[:limit], spans, len(conversation.ids) - limit, lost)


def tools_of(row: Row) -> list[Tool] | None:
    """The tools of a row; None where it has none.

    Args:
        row: a row with `tools`, or OpenAI's older `functions`, as a list or as JSON text.

    Raises:
        Unfit: they are no list of tools.
    """
    return chat_rows.tools(row)
