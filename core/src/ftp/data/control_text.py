"""Text that spells a control token (`<|im_end|>`, `</s>`, `[SEP]`) stays text: the one way in which content is tokenised.

A tokenizer takes such a string in a text for the token itself, so that a text could end its own turn and open another. Its
own switch, `split_special_tokens`, does not help everywhere: a Unigram or word-level vocabulary has `</s>` among its pieces
and finds it there, and a rendered chat holds both the template's tokens, which are meant, and those that content spells.

So texts without such a string go the quick way, with exactly the ids that the tokenizer gives. Only texts with one are read
by a twin of the tokenizer: the same rules and ids, but its control tokens are named by private-use characters that do
not occur in the text. `</s>` is then letters like any others, and where a template's own token is meant, its new name is written
into the text. Names have the length of the old ones, so offsets are those of the text.

What counts as control: tokens that the tokenizer holds to be special, those listed in its `chat_control_tokens`, and added
tokens by which a chat template opens and ends turns (DeepSeek's `<｜User｜>` is not special). Other added tokens
(`<think>`, `<tool_call>`) are words that a model itself writes, and tokens that a template looks for in content are its own
business: both stay tokens wherever they stand. No torch here.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

from ftp.data import twin_tokenizer
from ftp.errors import UserError
from ftp.types import Run

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

__all__ = ["TextTokenizer", "of_run"]

Content = TypeVar("Content")
"""Messages, tools, or any value of them."""

VERSION = 1
"""Raised when tokenising changes, so that no older encoded rows are taken."""

HIDDEN = 0x17000
"""Where the letters begin in which content's control strings are spelt while a template is rendered. Tangut: letters to `repr`,
`tojson` and the filters of Jinja, which leave them as they are, and in nobody's texts next to `</s>`."""

LOOKED_FOR = r"(?:(?:\.|\|\s*)(?:split|rsplit|partition|rpartition|startswith|endswith|find|rfind|index|count|replace)\(\s*)"
"""How a template looks for a string in content, other than by `in`."""


@dataclass(frozen=True)
class TextTokenizer:
    """Tokenises content as `tokenizer` does, but for control tokens that it spells, which stay text.

    Attributes:
        tokenizer: that of the model.
        split_special_tokens: False takes them for tokens, for texts that a template has rendered before.
        markers: added tokens that are control though the tokenizer does not say so (see `turn_markers`).
        allowed: control tokens that texts may hold (the mask of a text whose blanks are to be filled in).
    """

    tokenizer: PreTrainedTokenizerBase
    split_special_tokens: bool = True
    markers: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What `Loss.key` must hold of this (see `ftp.data.encode.cache_key`)."""
        return f"text {VERSION} {self.split_special_tokens} {self.markers} {self.allowed}"

    @cached_property
    def controls(self) -> tuple[str, ...]:
        """The strings that are control tokens, the longest first."""
        # tokenizers written in Python (ByT5) hold their own EOS for an added token that is not special
        named = self.tokenizer.all_special_tokens
        listed = {*named, *(getattr(self.tokenizer, "chat_control_tokens", None) or ()), *self.markers}
        controls: set[str] = set()
        for token in self.tokenizer.added_tokens_decoder.values():
            # white space may be an added token (Gemma's line breaks), and is in every text
            if (token.special or token.content in listed) and token.content.strip():
                controls.add(token.content)
        return tuple(sorted(controls.difference(self.allowed), key=lambda token: (-len(token), token)))

    @cached_property
    def control_ids(self) -> frozenset[int]:
        """The ids of `controls`."""
        return frozenset(map(self.tokenizer.added_tokens_encoder.__getitem__, self.controls))

    def __call__(
        self, texts: str | Sequence[str], pairs: str | Sequence[str] | None = None, **options: object
    ) -> BatchEncoding:
        """What the tokenizer gives for a text, or for a list of texts.

        Args:
            pairs: the second text of each; None: there are none.
            options: as the tokenizer takes them, but nothing that makes tensors or pads, which needs rows of one length.
        """
        if isinstance(texts, str):
            pair = pairs if isinstance(pairs, str) else None
            return self._read(texts, pair, options) if self._spells(texts, pair) else self.tokenizer(texts, pair, **options)
        # All at once, which is much quicker; rows that spell a control token are read anew.
        whole = self.tokenizer(texts, pairs, **options)
        encodings = list(whole.encodings or ())
        for number, text in enumerate(texts):
            pair = pairs[number] if pairs is not None else None
            if not self._spells(text, pair):
                continue
            row = self._read(text, pair, options)
            for name, column in whole.items():
                column[number] = row[name]
            if encodings:
                encodings[number] = row.encodings[0]
        return type(whole)(dict(whole), encodings or None)

    # --- what a text holds ---

    def holds(self, text: str) -> bool:
        """Whether a text spells a control token."""
        # most texts have not even the first two characters of one, which is much quicker to see
        if any(start in text for start in self._starts) and self._control.search(text):
            return True
        return self._normal_controls is not None and self._holds_once_normal(text)

    def found(self, text: str) -> str | None:
        """The first control token that a text spells."""
        match = self._control.search(text)
        return match[0] if match else None

    def _spells(self, text: str, pair: str | None) -> bool:
        """Whether a text or its pair has to be read by the twin."""
        return self.split_special_tokens and (self.holds(text) or (pair is not None and self.holds(pair)))

    @cached_property
    def _starts(self) -> tuple[str, ...]:
        return tuple({token[:2] for token in self.controls})

    @cached_property
    def _control(self) -> re.Pattern[str]:
        return any_of(self.controls)

    @cached_property
    def _normal_controls(self) -> tuple[str, ...] | None:
        """Control tokens that the tokenizer looks for in the text as it normalises it (`＜s＞`, `[cls]`), as they are then;
        None where it has none or leaves texts as they are."""
        normalizer = getattr(getattr(self.tokenizer, "backend_tokenizer", None), "normalizer", None)
        tokens = self.tokenizer.added_tokens_decoder.values()
        normal = [token.content for token in tokens if token.normalized and token.content in self.controls]
        return tuple(map(normalizer.normalize_str, normal)) if normalizer is not None and normal else None

    @cached_property
    def _keeps_ascii(self) -> bool:
        """Whether each control token still has its own letters once normalised (`[CLS]` is `[cls]` where all is lower case). Then
        an ASCII text that does not spell it does not become it either; others may (`＜s＞`)."""
        return all(map(self._control.search, self._normal_controls or ()))

    def _holds_once_normal(self, text: str) -> bool:
        if self._keeps_ascii and text.isascii():
            return False
        normal = self.tokenizer.backend_tokenizer.normalizer.normalize_str(text)
        return any(token in normal for token in self._normal_controls or ())

    # --- chats ---

    def hidden(self, content: Content) -> Content:
        """Messages, tools or any value of them with the control tokens that they spell written in other letters, of the same
        length, so that a template can be rendered with them and `rendered` still knows which tokens are the template's."""
        if not self.split_special_tokens:
            return content
        hidden: Content = _mapped(content, lambda text: self._control.sub(self._hide, text) if self.holds(text) else text)
        return hidden

    def rendered(self, texts: Sequence[str], **options: object) -> BatchEncoding:
        """What the tokenizer gives for texts that a template has written from what `hidden` gave: the tokens that the template
        writes are tokens, those that its content spells are text. Offsets are those of the texts.

        Args:
            options: as the tokenizer takes them; a template has written all special tokens itself.
        """
        options = {**options, "add_special_tokens": False}
        whole = self.tokenizer(list(texts), **options)
        for number, text in enumerate(texts):
            if not self._content_spells(text):
                continue
            # the template's own tokens get the twin's names, and only then may content be spelt as it is
            first = twin_tokenizer.unused_names(text)
            named = self._control.sub(partial(self._name, first), text)
            row = self._twin(first)(self._hidden.sub(self._show, named), **options)
            for name, column in whole.items():
                column[number] = row[name]
        return whole

    def _content_spells(self, text: str) -> bool:
        """Whether what is content in a rendered text spells a control token."""
        if not self.split_special_tokens:
            return False
        # The letters of `HIDDEN` are no ASCII.
        if not text.isascii() and self._hidden.search(text):
            return True
        return self._normal_controls is not None and self._holds_once_normal(self._control.sub(" ", text))

    @cached_property
    def _hidden(self) -> re.Pattern[str]:
        return any_of(self._names(HIDDEN).values())

    @cached_property
    def _letters(self) -> str:
        """Every character that a control token is written with."""
        return "".join(sorted(set("".join(self.controls))))

    def _spelt(self, token: str, first: int) -> str:
        """A control token in characters that begin at `first`, one for each of its own."""
        return "".join(chr(first + self._letters.index(letter)) for letter in token)

    def _names(self, first: int) -> dict[str, str]:
        """Each control token -> its name in characters from `first` on."""
        return {token: self._spelt(token, first) for token in self.controls}

    def _name(self, first: int, match: re.Match[str]) -> str:
        return self._spelt(match[0], first)

    def _hide(self, match: re.Match[str]) -> str:
        return self._spelt(match[0], HIDDEN)

    def _show(self, match: re.Match[str]) -> str:
        return "".join(self._letters[ord(letter) - HIDDEN] for letter in match[0])

    # --- the twin ---

    def _read(self, text: str, pair: str | None, options: Mapping[str, object]) -> BatchEncoding:
        """A text whose control strings are text. UserError where the tokenizer cannot read them so."""
        if self.tokenizer.is_fast:
            return self._twin(twin_tokenizer.unused_names(text + (pair or "")))(text, pair, **options)
        # tokenizers written in Python have no vocabulary that could be renamed, but this switch
        inner = self.tokenizer(text, pair, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
        if not self.control_ids.isdisjoint(set(inner) - {self.tokenizer.unk_token_id}):
            raise UserError(f"the tokenizer reads {self.found(text + (pair or ''))!r} in a text as a control token and cannot do "
                            "otherwise", "use the model's fast tokenizer (tokenizer.json), or take it as it is",
                            "--no-split-special-tokens")
        return self.tokenizer(text, pair, split_special_tokens=True, **options)

    def _twin(self, first: int) -> PreTrainedTokenizerBase:
        """The tokenizer with its control tokens named by characters from `first` on."""
        if first not in self._twins:
            self._twins[first] = twin_tokenizer.renamed(self.tokenizer, self._names(first))
        return self._twins[first]

    @cached_property
    def _twins(self) -> dict[int, PreTrainedTokenizerBase]:
        return {}


def of_run(
    run: Run, tokenizer: PreTrainedTokenizerBase, *, markers: tuple[str, ...] = (), allowed: tuple[str, ...] = ()
) -> TextTokenizer:
    """How the texts of a run are tokenised, in training as in inference (`--split-special-tokens`).

    Args:
        run: its settings say whether content may spell control tokens.
        tokenizer: that of the model.
        markers: added tokens that are control though the tokenizer does not say so.
        allowed: control tokens that texts may hold.
    """
    return TextTokenizer(tokenizer, run.settings.split_special_tokens, markers, allowed)


def any_of(strings: Iterable[str]) -> re.Pattern[str]:
    """A pattern that finds each of the strings, the first ones first; nothing where there are none."""
    return re.compile("|".join(map(re.escape, strings)) or "(?!)")


def turn_markers(tokenizer: PreTrainedTokenizerBase, asked: str, opened: str, answered: str) -> tuple[str, ...]:
    """Added tokens that are not special by which a chat template parts turns.

    Args:
        asked: a user's turn as the template renders it.
        opened: what the template adds for an answer to begin; its first token opens the turn, what follows
            (`<think>`) belongs to the answer.
        answered: a user's turn and its answer; the token that it ends with, if any, ends an answer.
    """
    plain = [token.content for token in tokenizer.added_tokens_decoder.values() if not token.special and token.content.strip()]
    if not plain:
        return ()
    pattern = any_of(sorted(plain, key=len, reverse=True))
    ended = [token for token in plain if answered.rstrip().endswith(token)]
    return tuple(sorted({*pattern.findall(asked), *pattern.findall(opened)[:1], *ended}))


def looked_for(template: str, tokens: Iterable[str]) -> tuple[str, ...]:
    """The tokens that a chat template looks for in what messages say (`'</think>' in message.content`)."""
    looked_for: list[str] = []
    for token in tokens:
        quoted = rf"(['\"])(?:\\n|\s)*{re.escape(token)}(?:\\n|\s)*"
        if re.search(rf"{quoted}\1\s*(?:not\s+)?in\b|{LOOKED_FOR}{quoted}", template):
            looked_for.append(token)
    return tuple(looked_for)


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """A value with all its strings changed, keys of dictionaries too; the same object where none is."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        fields = {_mapped(key, change): _mapped(item, change) for key, item in value.items()}
        is_same = all(key in value and value[key] is item for key, item in fields.items())
        return value if is_same else fields
    if isinstance(value, list | tuple):
        items = [_mapped(item, change) for item in value]
        is_same = all(map(operator.is_, value, items))
        return value if is_same else items
    return value
