"""What judges completions: a trained reward model, Python functions, and what other plugins of the run say (`reward`)."""

from __future__ import annotations

import dataclasses
import inspect
import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftp import UserError
from ftp.data import read_messages
from ftp.data.turns import Message, Unfit, last_question, plain, split_last
from ftp.errors import describe
from ftp.heads import all_heads
from ftp.host import python_files
from ftp.types import Model, Row, StartedRun

Ids = Sequence[Sequence[int]]
Judge = Callable[[Sequence[Row], Sequence[str], Ids], Sequence[float | None]]
"""Rows of prompts, completions as text and as token ids -> a number each; None for what it does not judge."""


@dataclass(frozen=True)
class Judged:
    """[completions] the weighted sum of all rewards, and each reward by name, unweighted (0 where it did not judge)."""

    total: list[float]
    parts: Mapping[str, list[float]]


class Judges:
    """All that judges the completions of a run."""

    def __init__(self, run: StartedRun, options: Any) -> None:
        self.run = run
        named: dict[str, Judge] = {}
        if options.reward_model is not None:
            named["reward_model"] = model_judge(run, Path(options.reward_model))
        for spec in options.reward:
            name, judge = function_judge(spec)
            named[name if name not in named else spec] = judge
        self.named = [(name, judge, weight) for (name, judge), weight
                      in zip(named.items(), options.reward_weights or [1.0] * len(named), strict=True)]

    def __call__(self, rows: Sequence[Row], texts: Sequence[str], ids: Ids) -> Judged:
        """The rewards of completions. `UserError` for numbers that cannot be: too few, not finite, or none at all."""
        if not rows:
            return Judged([], {})
        found = [(name, list(judge(rows, texts, ids)), weight) for name, judge, weight in self.named]
        for answer in self.run.hooks.each("reward", run=self.run, rows=rows, completions=texts):
            found.append((answer.value.name, list(answer.value.values), answer.value.weight))
        for name, values, _ in found:
            _check(name, values, rows, texts)
        for place in range(len(rows)):
            if all(values[place] is None for _, values, _ in found):
                raise UserError(f"no reward judges the completion {_excerpt(texts[place])} of the prompt {_asked(rows[place])}",
                                "at least one gives a number; None is for what a function does not judge")
        total = [math.fsum(weight * (values[place] or 0.0) for _, values, weight in found) for place in range(len(rows))]
        return Judged(total, {name: [float(value or 0.0) for value in values] for name, values, _ in found})


def _check(name: str, values: Sequence[float | None], rows: Sequence[Row], texts: Sequence[str]) -> None:
    if len(values) != len(texts):
        raise UserError(f"reward {name}: it gave {len(values)} numbers for {len(texts)} completions",
                        "one for each, in their order")
    for value, row, text in zip(values, rows, texts, strict=True):
        if value is not None and not (isinstance(value, (int, float)) and math.isfinite(value)):
            raise UserError(f"reward {name}: {value!r} for the completion {_excerpt(text)} of the prompt {_asked(row)}",
                            "a finite number for each completion, or None for what it does not judge")


def _excerpt(text: str, most: int = 60) -> str:
    return repr(text if len(text) <= most else text[:most] + "...")


def _asked(row: Row) -> str:
    return _excerpt(last_question(read_messages(row["prompt"], "user")))


# --- Python functions ---


def function_judge(spec: str) -> tuple[str, Judge]:
    """`path.py:function` with its name. It is called with those of these that it takes: `prompts` (messages), `completions`
    (texts), `completion_ids`, and each column of the prompts' rows, all as lists; as TRL calls its reward functions.

    Raises `UserError` when there is no such function, or when it asks for something that no row has.
    """
    file, _, name = spec.rpartition(":")
    path = Path(file).expanduser()
    if not file.endswith(".py") or not name:
        raise UserError(f"--rlhf.reward {spec}: not a function", "write path.py:function")
    if not path.is_file():
        raise UserError(f"--rlhf.reward {spec}: there is no file {path}")
    module = python_files.load_module(f"ftp_reward_{path.stem}", path)
    try:
        python_files.run_module(module)
    except (Exception, SystemExit) as error:
        raise UserError(f"--rlhf.reward {spec}: {path} cannot be imported: {_said(error, path)}") from error
    function = getattr(module, name, None)
    if not callable(function):
        there = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise UserError(f"--rlhf.reward {spec}: {path} has no function {name}", f"it has: {', '.join(there) or 'none'}")
    if inspect.iscoroutinefunction(function):
        raise UserError(f"--rlhf.reward {spec}: {name} is async", "write it as a plain function")
    takes = inspect.signature(function).parameters
    everything = any(one.kind is one.VAR_KEYWORD for one in takes.values())
    needs = [key for key, one in takes.items()
             if one.default is one.empty and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)]

    def judge(rows: Sequence[Row], texts: Sequence[str], ids: Ids) -> Sequence[float | None]:
        names = dict.fromkeys(key for row in rows for key in row if key != "prompt")
        columns = {key: [row.get(key) for row in rows] for key in names}
        given = {**columns, "prompts": [list(row["prompt"]) for row in rows], "completions": list(texts),
                 "completion_ids": [list(one) for one in ids]}
        if missing := [key for key in needs if key not in given]:
            raise UserError(f"--rlhf.reward {spec}: it asks for {', '.join(missing)}, which no row has",
                            f"there are: {', '.join(given)}")
        try:
            values = function(**(given if everything else {key: given[key] for key in takes if key in given}))
            return [None if value is None else float(value) for value in values]
        except (Exception, SystemExit) as error:
            raise UserError(f"--rlhf.reward {spec}: the reward function failed: {_said(error, path)}",
                            "it gets lists of equal length and gives a list of numbers, one for each completion") from error

    return name, judge


def _said(error: BaseException, path: Path) -> str:
    """What an exception says, and where in the user's file it was raised."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    return describe(error) + (f" ({path.name}, line {lines[-1]})" if lines else "")


# --- a trained reward model ---


def model_judge(run: StartedRun, folder: Path) -> Judge:
    """A finished run of `reward`, or a folder with a model that gives a text one number; it reads prompt and completion with
    its own tokenizer and chat template, as `reward` trained it. Raises `UserError` for anything else."""
    import torch

    from ftp.data import control_text
    from ftp.losses import chat_template, row_limit
    from ftp.losses.conversations import tools_of
    from ftp.losses.scored_texts import Reader, reads_pairs, refuse_other
    from ftp.net import heads, layout

    model, as_trained = _scorer(folder, run)
    tokenizer, net = model.tokenizer, model.net
    own = dataclasses.replace(run, settings=dataclasses.replace(run.settings, **as_trained))
    pairs = reads_pairs(tokenizer)
    refuse_other(pairs, folder)
    tokenize = control_text.of_run(own, tokenizer)
    talk = None if pairs else chat_template.prepare(tokenizer, who="rlhf", split_special_tokens=tokenize.split_special_tokens)
    reader = Reader(tokenize, row_limit(own, model), talk)
    if reader.chat is not None:
        chat_template.refuse_changed(reader.chat, folder)

    def read(row: Row, text: str) -> list[int]:
        """Nothing but how `reward` reads a text; an empty completion is scored like any other."""
        talk: list[Message] = [*read_messages(row["prompt"], "user"), {"role": "assistant", "content": text}]
        if reader.chat is None:
            asked, answer = split_last(talk)
            ids: list[int] = reader.pair(plain(asked), plain(answer))["input_ids"]
            return ids
        encoded = reader.chat.encode([talk], [tools_of(row)], "all")[0]
        if isinstance(encoded, Unfit):
            raise UserError(f"--rlhf.reward_model {folder}: the prompt {_asked(row)} {encoded}")
        return list(reader.whole(encoded.ids)["input_ids"])

    def judge(rows: Sequence[Row], texts: Sequence[str], ids: Ids) -> Sequence[float | None]:
        read_ids = [read(row, text) for row, text in zip(rows, texts, strict=True)]
        order = sorted(range(len(read_ids)), key=lambda place: -len(read_ids[place]))
        scores = [0.0] * len(read_ids)
        with torch.no_grad(), torch.autocast(net.device.type, enabled=False):  # the scores that its own run gives
            while order:
                most = max(1, run.settings.eval_batch_tokens // len(read_ids[order[0]]))
                part, order = order[:most], order[most:]
                laid = layout.lay([read_ids[place] for place in part], packed=False, pad_id=tokenizer.pad_token_id or 0,
                                   device=next(net.parameters()).device)
                for place, score in zip(part, heads.classify(net, laid)[:, 0].float().tolist(), strict=True):
                    scores[place] = score
        return scores

    return judge


def _scorer(folder: Path, run: StartedRun) -> tuple[Model, dict[str, Any]]:
    """The network that scores, and the settings by which its own run read texts."""
    from ftp import model as models
    from ftp.folder import paths
    from ftp.folder.files import Folder

    if (folder / paths.RECIPE).is_file():
        facts = Folder(folder).read_facts()
        if not (folder / paths.MODEL).is_dir():
            raise UserError(f"--rlhf.reward_model {folder}: that run did not finish ({facts.get('status', 'unknown')})",
                            "finish it first", f"ftp run --resume {folder}")
        head = all_heads().get(str(facts.get("head")))
        if head is None or not head.gives_number:
            raise UserError(f"--rlhf.reward_model {folder}: that run trained no score (its head is '{facts.get('head')}')",
                            "name a run of the plugin reward", "ftp run --plugins reward,...")
        recipe = Folder(folder).read_recipe()
        as_trained = {"max_length": recipe.get("max_length"),
                      "split_special_tokens": recipe.get("split_special_tokens", True)}
        return models.reload(folder / paths.MODEL, device=run.accelerator.device,
                             trust_remote_code=run.settings.trust_remote_code), as_trained
    if not folder.is_dir():
        raise UserError(f"--rlhf.reward_model {folder}: there is no such folder",
                        "a finished run of reward, or a model that scores")
    model = models.load(models.find(str(folder), "score"), "score", (), seed=0, trust_remote_code=run.settings.trust_remote_code)
    if model.fresh:
        raise UserError(f"--rlhf.reward_model {folder}: it has no weights for {', '.join(model.fresh)}, so it scores nothing yet",
                        "train it first", f"ftp run --plugins reward,... --model {folder}")
    model.net.to(run.accelerator.device).eval().requires_grad_(False)
    return model, {"max_length": None}
