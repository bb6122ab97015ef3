"""Messages as a chat template is given them, and what a template makes of them. No torch here.

A message goes to the template with every field of its row, as `tokenizer.apply_chat_template` would pass it on. Two things
differ between templates and are found out by rendering a probe: whether content in parts is read, and whether calls of tools
are written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from ftp.data.turns import Message, content_text

Specials = Mapping[str, str | Sequence[str]]
"""A tokenizer's special tokens by name, as templates read them; some names stand for several."""

FrozenSpecials = tuple[tuple[str, str | tuple[str, ...]], ...]
"""The same as a key of a cache."""

TOOLS = "{% if tools %}{{ 'Tools:' }}{% for tool in tools %}{{ ' ' + tool | tojson }}{% endfor %}{{ '\\n\\n' }}{% endif %}"
"""How our own templates write the tools of a row, as JSON before its turns."""

SAID = (
    "{% macro said(message) %}"
    "{% if message['content'] is string %}{{ message['content'] | trim }}"
    "{% elif message['content'] is defined and message['content'] is not none %}{{ message['content'] | tojson }}{% endif %}"
    "{% for call in message['tool_calls'] or [] %}{{ ' ' + (call['function'] or call) | tojson }}{% endfor %}"
    "{% endmacro %}"
)
"""What our own templates write of a turn: its text (nothing for null, JSON for an object that a tool gave back), and each call of
a tool as JSON behind it. The caller trims the blank before a call that has no text before it."""

WORDS = ("quartz", "vellum")
"""Words of the probes, which no template writes by itself."""


def render(
    template: str, messages: Sequence[Mapping[str, object]], tools: Sequence[Mapping[str, object]] | None,
    specials: Specials, *, ask: bool = False, marks: bool = False,
) -> tuple[str, list[tuple[int, int]]]:
    """The text that a template makes of messages, and the stretches of it (in characters) that it marks as generated.

    Args:
        specials: the tokenizer's special tokens by name, which templates read.
        ask: whether the text ends where the assistant's answer begins.
        marks: whether the template has generation markers.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    texts, marked = render_jinja_template(
        conversations=[list(messages)], tools=tools, chat_template=template, add_generation_prompt=ask,
        return_assistant_tokens_mask=marks, **specials)
    if not marked:
        return texts[0], []
    return texts[0], [(int(start), int(end)) for start, end in marked[0]]


def for_template(messages: Sequence[Message], template: str, specials: Specials) -> list[dict[str, object]]:
    """Messages as the template reads them: without fields that are null, as `apply_chat_template` drops them, and with the text
    of parts in place of the parts where it reads text alone."""
    readable = []
    for message in messages:
        fields = {name: value for name, value in message.items() if value is not None}
        if isinstance(fields.get("content"), list) and not reads_parts(template, _frozen(specials)):
            fields["content"] = content_text(message)
        readable.append(fields)
    return readable


def _frozen(specials: Specials) -> FrozenSpecials:
    """Special tokens as a key of a cache."""
    frozen = []
    for name, token in specials.items():
        frozen.append((name, token if isinstance(token, str) else tuple(token)))
    return tuple(frozen)


@lru_cache(maxsize=64)
def reads_parts(template: str, specials: FrozenSpecials) -> bool:
    """Whether a template writes the text of every part of a content, rather than the list as Python shows it."""
    parts = [{"type": "text", "text": word} for word in WORDS]
    text = _probe(template, specials, [{"role": "user", "content": parts}])
    return all(word in text for word in WORDS) and "'text'" not in text and '"text"' not in text


def writes_calls(template: str, specials: Specials) -> bool:
    """Whether a template writes the calls of tools that an assistant's turn makes."""
    return _writes_calls(template, _frozen(specials))


@lru_cache(maxsize=64)
def _writes_calls(template: str, specials: FrozenSpecials) -> bool:
    name, value = WORDS
    # templates read the arguments of a call as an object or as JSON text
    for arguments in ({"a": value}, f'{{"a": "{value}"}}'):
        call = {"id": "call00000", "type": "function", "function": {"name": name, "arguments": arguments}}
        text = _probe(template, specials, [
            {"role": "user", "content": "?"}, {"role": "assistant", "content": "", "tool_calls": [call]}])
        if name in text and value in text:
            return True
    return False


def _probe(template: str, specials: FrozenSpecials, messages: Sequence[Mapping[str, object]]) -> str:
    """What a template makes of a short conversation; nothing where it refuses it."""
    try:
        return render(template, messages, None, dict(specials))[0]
    except Exception:  # whatever a template raises is its way to refuse
        return ""
