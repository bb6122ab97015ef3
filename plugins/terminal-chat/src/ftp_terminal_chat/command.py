"""`ftp chat`: talk with a finished run in the terminal."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftp import UserError, heads
from ftp.cli.trust import changed_base, trust, trust_recipe
from ftp.host.terminal import is_interactive, say, warn

if TYPE_CHECKING:
    from transformers import GenerationConfig

    from ftp.data.turns import Message
    from ftp.losses.conversations import Chat
    from ftp.types import Model

HELP = "/reset forgets what was said, /system TEXT sets the system text (and forgets), /exit ends."


@click.command("chat", short_help="Talk with a finished run in the terminal.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--system", default="", help="System text that stands before what is said.")
@click.option("--max-new-tokens", default=128, show_default=True, type=click.IntRange(1), help="Tokens of an answer at most.")
@click.option("--temperature", default=0.0, show_default=True, type=click.FloatRange(0), help="0: always the likeliest token.")
@click.option("--top-p", default=1.0, show_default=True, type=click.FloatRange(0, 1, min_open=True),
              help="Draw from the likeliest tokens that together have this probability.")
@click.option("--repetition-penalty", default=1.0, show_default=True, type=click.FloatRange(0, min_open=True),
              help="Above 1: tokens that were said become less likely.")
@click.option("--seed", default=0, show_default=True, help="Seed of what is drawn.")
@trust
@trust_recipe
@changed_base
def command(run: Path, system: str, max_new_tokens: int, temperature: float, top_p: float, repetition_penalty: float,
            seed: int, trust_remote_code: bool, trust_recipe: bool, allow_changed_base: bool) -> None:
    """Talk with a finished run: answers appear as they are written, and what was said before is remembered.

    Lines come from the terminal or from standard input. /reset forgets what was said, /system TEXT sets the system text
    (and forgets), /exit ends.
    """
    if not run.is_dir():
        raise UserError(f"{run}: there is no such folder", "name the folder of a run", "ftp runs")
    if temperature == 0 and top_p != 1:
        raise UserError(f"--top-p {top_p}: nothing is drawn at --temperature 0", "add --temperature 0.7, or leave it out")

    import torch
    from transformers import GenerationConfig

    from ftp.losses import chat_template
    from ftp.runs.predictor import load

    loaded = load(run, trust_remote_code, trust_recipe, allow_changed_base)
    model = loaded.model
    if not heads.get(model.head).writes_text:
        raise UserError(f"{run}: its model does not write text (its head is {model.head})", "name a run of sft, dpo or rlhf",
                        "ftp runs")
    chat = chat_template.prepare(model.tokenizer, who="chat", split_special_tokens=loaded.run.settings.split_special_tokens)
    torch.manual_seed(seed)
    how = GenerationConfig(max_new_tokens=max_new_tokens, repetition_penalty=repetition_penalty, do_sample=False, use_cache=True,
                           eos_token_id=list(chat.stop), pad_token_id=model.tokenizer.pad_token_id or 0)
    if temperature:
        how.update(do_sample=True, temperature=temperature, top_p=top_p)
    warn(f"{model.name or run}: {HELP}")
    talk(_lines(), lambda messages, show: answer(model, chat, messages, show, how), system)


def talk(lines: Iterator[str], respond: Callable[[list[Message], Callable[[str], None]], str], system: str = "") -> None:
    """Hold a conversation: `respond(messages, show)` answers, and shows its words as they come."""
    turns: list[Message] = []
    for line in lines:
        word, _, rest = line.strip().partition(" ")
        if word == "/exit":
            return
        if word == "/reset":
            turns = []
            warn("forgotten")
        elif word == "/system":
            turns = []
            system = rest.strip()
            warn(f"system text: {system or 'none'}")
        elif word.startswith("/"):
            warn(f"{word}: no such command. {HELP}")
        elif word:
            turns.append({"role": "user", "content": line.strip()})
            before: list[Message] = [{"role": "system", "content": system}] if system else []
            answer = respond(before + turns, lambda text: say(text, end=""))
            say()
            turns.append({"role": "assistant", "content": answer})


def answer(
    model: Model, chat: Chat, messages: list[Message], show: Callable[[str], None], how: GenerationConfig
) -> str:
    """The model's next turn. Where a conversation is longer than the model takes, its oldest turns are left out, and that is
    told.

    Args:
        show: gets the words as they are written.
    Raises:
        UserError: not even the last turn fits.
    """
    import torch
    from transformers.generation.streamers import TextStreamer

    class Show(TextStreamer):  # type: ignore[misc]
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            written.append(text)
            # some tokenizers write a blank before the first word
            show(text if len("".join(written)) > len(text) else text.lstrip())

    written: list[str] = []
    ids = _fitting_prompt(model, chat, messages, how.max_new_tokens)
    prompt = torch.tensor([ids], device=next(model.net.parameters()).device)
    model.net.eval()
    with torch.no_grad():
        model.net.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt), generation_config=how,
                           streamer=Show(model.tokenizer, skip_prompt=True, skip_special_tokens=True))
    return "".join(written).strip()


def _fitting_prompt(model: Model, chat: Chat, messages: list[Message], max_new_tokens: int) -> list[int]:
    """The token ids of a conversation without the oldest turns, as many as the model does not take."""
    from ftp.model import capacity

    fits = capacity(model.net, model.tokenizer)
    limit = math.inf if fits is None else fits
    room = 0 if model.net.config.is_encoder_decoder else max_new_tokens  # a decoder beside an encoder has positions of its own
    first = 1 if messages[0]["role"] == "system" else 0
    turns = list(messages)
    ids = chat.prompt(turns)
    while len(ids) + room > limit:
        if len(turns) - first <= 1:
            raise UserError(f"{len(ids)} tokens and an answer of {max_new_tokens} are more than the model takes ({limit})",
                            "say it shorter", "--max-new-tokens 32")
        del turns[first : first + 2]  # a question with its answer
        ids = chat.prompt(turns)
    if len(turns) < len(messages):
        warn(f"(the oldest {len(messages) - len(turns)} turns no longer fit and are left out)")
    return ids


def _lines() -> Iterator[str]:
    """What the user says: asked for in a terminal, else the lines of standard input."""
    is_terminal = is_interactive()
    while True:
        if is_terminal:
            warn("> ", end="")
        line = sys.stdin.readline()
        if not line:
            return
        yield line
