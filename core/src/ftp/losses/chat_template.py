"""The chat template of a run: our own where the tokenizer has none, checked before it is used, the same when the run comes back.
No torch here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ftp.data.turns import Unfit
from ftp.errors import UserError, nearest
from ftp.folder.log import read_log
from ftp.folder.paths import LOG, MODEL
from ftp.losses import rendering
from ftp.losses.blocks import ends
from ftp.losses.conversations import PROBE, Chat
from ftp.losses.stretches import without_white_space
from ftp.types import Data, Model, Run

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerBase

__all__ = ["of_run", "prepare", "refuse_changed"]

DEFAULT = (
    rendering.SAID
    + rendering.TOOLS
    + "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ 'Assistant:' }}{% generation %}{{ ' ' + said(message) | trim + eos_token }}{% endgeneration %}{{ '\\n\\n' }}"
    "{% else %}"
    "{{ message['role'] | capitalize + ': ' + said(message) | trim + '\\n\\n' }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
"""Our template for tokenizers without one. It needs no new token: names of roles are words, tools and calls of them are JSON, an
answer ends with the EOS.
The blank before an answer belongs to the answer, so the prompt's tokens stay the same when the answer follows."""

_FREE = {"min_length": 0, "min_new_tokens": 0, "no_repeat_ngram_size": 0, "encoder_no_repeat_ngram_size": 0,
         "repetition_penalty": 1.0}
"""Settings of generation that change what a network would answer, with the values that do not."""


def prepare(
    tokenizer: PreTrainedTokenizerBase,
    *,
    file: Path | None = None,
    eos_token: str | None = None,
    marked: Callable[[], str | None] | None = None,
    who: str = "",
    apart: Callable[[], str] | None = None,
    split_special_tokens: bool = True,
) -> Chat:
    """Give the tokenizer a chat template where it has none (or a file's), and check it on a short conversation.

    The template is set on the tokenizer, so it is saved with it and inference uses the same.

    Args:
        tokenizer: a fast tokenizer, which is changed.
        file: a file with a Jinja template; None: the tokenizer's own, or ours where it has none.
        eos_token: a token of the vocabulary that ends answers; None: the tokenizer's EOS.
        marked: gives a version of the template with generation markers, asked for only where it is needed; None: there is none.
        who: the plugin whose options are named in messages.
        apart: gives the default template of a network whose encoder reads prompts and whose decoder writes answers; None: the
            network is a decoder.
        split_special_tokens: whether control tokens that messages spell stay text (`ftp.data.control_text`).

    Raises:
        UserError: the tokenizer has no EOS or no offsets; or the template is broken, writes two BOS, or has a prompt that is
            not how its own assistant turns begin.
    """
    # slow tokenizers have no offsets, by which the assistant's tokens are found
    if not tokenizer.is_fast:
        raise UserError("the tokenizer cannot tell which characters a token stands for, so the assistant's tokens cannot be "
                        "told exactly", "use the model's fast tokenizer (tokenizer.json)")
    if eos_token is not None:
        if eos_token not in tokenizer.get_vocab():
            raise UserError(f"--{who}.eos_token {eos_token}: not a token of this tokenizer",
                            nearest(eos_token, tokenizer.get_added_vocab()) or "name one of its vocabulary")
        tokenizer.eos_token = eos_token
    if file is not None:
        source = str(file)
        tokenizer.chat_template = _read_template(file, who)
    elif tokenizer.chat_template:
        source = "the tokenizer's own"
    else:
        source = "ftp's default, as the tokenizer has none"
        tokenizer.chat_template = apart() if apart else _default(tokenizer)
    if tokenizer.eos_token_id is None:
        raise UserError("the tokenizer has no EOS token, so nothing would tell an answer's end",
                        "name a token of its vocabulary that ends answers", f"--{who}.eos_token TOKEN")
    return _checked(Chat(tokenizer, source, marked=marked, apart=apart is not None, split_special_tokens=split_special_tokens))


def _read_template(file: Path, who: str) -> str:
    """The template in a file. Raises `UserError` where it cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--{who}.chat_template {file}: cannot be read ({error})",
                        "name a file with a Jinja template") from error


def _default(tokenizer: PreTrainedTokenizerBase) -> str:
    """`DEFAULT`, which writes the BOS itself where the tokenizer puts one before plain text."""
    has_bos = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    return "{{ bos_token }}" + DEFAULT if has_bos else DEFAULT


def of_run(
    run: Run,
    data: Data,
    model: Model,
    *,
    who: str,
    file: Path | None = None,
    eos_token: str | None = None,
    marked: Callable[[], str | None] | None = None,
) -> Chat:
    """The chat template of a run (see `prepare`), told and kept in its log.

    A finished run that comes back (without rows, and with the template that was saved) is held to it by `refuse_changed`.

    Args:
        run: the run.
        data: its rows; none where a finished run comes back.
        model: the model, whose tokenizer gets the template.
        who: the plugin whose options are named in messages.
        file: a file with a Jinja template; None: the tokenizer's own, or ours where it has none.
        eos_token: a token of the vocabulary that ends answers; None: the tokenizer's EOS.
        marked: gives a version of the template with generation markers, asked for only where it is needed; None: there is none.

    Raises:
        UserError: the tokenizer or the template cannot be used; or a finished run was trained with another template.
    """
    from ftp.losses import encoder_decoder

    is_finished = not data.splits
    apart = encoder_decoder.default_template(model)
    # a finished run is saved with its template, so a file is not read again
    chat = prepare(model.tokenizer, file=None if is_finished else file, eos_token=eos_token, marked=marked, who=who,
                   apart=apart, split_special_tokens=run.settings.split_special_tokens)
    if is_finished:
        refuse_changed(chat, run.out)
        return chat
    run.tell(f"chat template: {chat.source} (sha256 {chat.sha256[:12]}); an answer ends with "
             f"{model.tokenizer.convert_ids_to_tokens(chat.stop[0])}")
    for note in chat.notes:
        run.tell(note)
    if run.log is not None:
        run.log.event("chat_template", sha256=chat.sha256, source=chat.source)
    config = getattr(model.net, "generation_config", None)
    if config is not None:
        # so that plain `generate` stops there too
        config.eos_token_id = list(chat.stop)
        if chat.apart:
            config.decoder_start_token_id = encoder_decoder.start(model)
        _tell_bounds(run, config)
    return chat


def _tell_bounds(run: Run, config: GenerationConfig) -> None:
    """Tell which settings of generation change answers."""
    bounds = []
    for name, free in _FREE.items():
        value = getattr(config, name, None)
        if value not in (None, free):
            bounds.append(f"{name} {value}")
    if bounds:
        run.tell(f"the model's generation_config.json has {', '.join(bounds)}: answers are bound by that, whatever is learnt "
                 "(take it out of the file if it was meant for another task)")


def refuse_changed(chat: Chat, out: Path | None) -> None:
    """Refuse a finished run that comes back with another chat template.

    Args:
        chat: the tokenizer with its template now.
        out: the run's folder; None: it has none, and is not looked at.

    Raises:
        UserError: the run was trained with another template.
    """
    if out is None:
        return
    trained = [line["sha256"] for line in read_log(out / LOG) if line.get("event") == "chat_template"]
    if trained and trained[-1] != chat.sha256:
        raise UserError(f"{out}: the chat template is not the one it was trained with (sha256 {chat.sha256[:12]}, "
                        f"then {trained[-1][:12]}): its answers would be worth nothing",
                        f"put the template of the training back into {out / MODEL}")


def _checked(chat: Chat) -> Chat:
    """The chat with its stop tokens and notes, once a short conversation has gone through it."""
    tokenizer = chat.tokenizer
    fix = "mend the template, or name another file"
    probe = chat.encode([PROBE])[0]
    if isinstance(probe, Unfit):
        raise UserError(f"the chat template ({chat.source}): a short conversation {probe}", fix)
    try:
        text, _ = chat.render(PROBE, None)
        asked, _ = chat.render(PROBE[:1], None, ask=True)
    except Unfit as error:
        raise UserError(f"the chat template ({chat.source}): a question alone {error}", fix) from error

    # what makes training and inference read other tokens is refused
    bos = tokenizer.bos_token_id
    ids = probe.ids
    prompt = chat.prompt(PROBE[:1])
    if bos is not None and ids[:2] == [bos, bos]:
        raise UserError(f"the chat template ({chat.source}) begins a conversation with two BOS tokens ({tokenizer.bos_token})",
                        fix)
    if not probe.spans or not text.startswith(asked):
        raise UserError(f"the chat template ({chat.source}): its prompt for an answer is not how its own assistant turns begin, "
                        "so training and inference would differ", fix)

    notes = _notes(chat, ids, prompt)
    # an answer ends with the last trained token of the probe, and with the EOS
    last = without_white_space(tokenizer, ids[slice(*probe.spans[-1])])[-1]
    if ids == [*chat.tokens([text])[0][0], last]:
        notes.append("the chat template writes no end of turn: the EOS is added after the last answer")
    stop = [token for token in dict.fromkeys([last, int(tokenizer.eos_token_id)]) if token in chat.ends]
    if last not in stop:
        notes.append("no token that ends a turn is among the trained ones: the model will not learn to stop")
    return dataclasses.replace(chat, stop=tuple(stop), notes=tuple(notes))


def _notes(chat: Chat, ids: list[int], prompt: list[int]) -> list[str]:
    """What works with a template, but not as one may think.

    Args:
        ids: a short conversation as tokens.
        prompt: its question as tokens, up to where the answer begins.
    """
    tokenizer = chat.tokenizer
    bos = tokenizer.bos_token_id
    notes = []
    # an encoder reads the prompt as a text of its own
    if ids[: len(prompt)] != prompt and not chat.apart:
        notes.append("the chat template's prompt ends within a token of the answer (a blank at its end, as a rule): "
                     "generation starts from other tokens than training")
    if bos is not None and bos not in ids and tokenizer("a")["input_ids"][:1] == [bos]:
        notes.append("the chat template writes no BOS, though the tokenizer puts one before plain text; the template is followed")
    after = ends(tokenizer)[1] if chat.apart else []
    if after and prompt[-len(after) :] != after:
        notes.append(f"the chat template's prompt does not end with {tokenizer.decode(after)}, which the tokenizer puts behind a "
                     "text that an encoder reads; the template is followed")
    return notes
