"""Rewards that a trained model gives. Heavy: imports torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ftp import UserError
from ftp import model as models
from ftp.data import control_text, read_messages
from ftp.data.turns import Message, Unfit, plain, split_last
from ftp.folder import paths
from ftp.folder.files import Folder
from ftp.heads import all_heads
from ftp.losses import chat_template, row_limit
from ftp.losses.conversations import tools_of
from ftp.losses.scored_texts import Reader, reads_pairs, refuse_other
from ftp.net import heads, layout
from ftp.types import Model, Row, Settings, StartedRun
from ftp_rlhf.rewards import Ids, Judge, question_of


def model_judge(run: StartedRun, folder: Path) -> Judge:
    """A finished run of `reward`, or a folder with a model that gives a text one number; it reads prompt and completion with
    its own tokenizer and chat template, as `reward` trained it. Raises `UserError` for anything else."""
    model, as_trained = _scorer(folder, run)
    tokenizer = model.tokenizer
    # texts are read as the run of the reward read them, not as this one does
    own = dataclasses.replace(run, settings=as_trained)
    is_pair = reads_pairs(tokenizer)
    refuse_other(is_pair, folder)
    tokenize = control_text.of_run(own, tokenizer)
    chat = None
    if not is_pair:
        chat = chat_template.prepare(tokenizer, who="rlhf", split_special_tokens=tokenize.split_special_tokens)
        chat_template.refuse_changed(chat, folder)
    return ModelJudge(folder, model, Reader(tokenize, row_limit(own, model), chat), run.settings.eval_batch_tokens)


@dataclass(frozen=True)
class ModelJudge:
    """Scores completions by a network. `batch_tokens`: how many go through it at once."""

    folder: Path
    model: Model
    reader: Reader
    batch_tokens: int

    def __call__(self, rows: Sequence[Row], texts: Sequence[str], ids: Ids) -> Sequence[float | None]:
        net = self.model.net
        read_ids = [self.read(row, text) for row, text in zip(rows, texts, strict=True)]
        # the longest first: texts of about one length are padded little
        order = sorted(range(len(read_ids)), key=lambda i: -len(read_ids[i]))
        scores = [0.0] * len(read_ids)
        with torch.no_grad(), torch.autocast(net.device.type, enabled=False):  # the scores that its own run gives
            while order:
                size = max(1, self.batch_tokens // len(read_ids[order[0]]))
                part, order = order[:size], order[size:]
                inputs = layout.lay([read_ids[i] for i in part], packed=False, device=next(net.parameters()).device,
                                    pad_id=self.model.tokenizer.pad_token_id or 0)
                for i, score in zip(part, heads.classify(net, inputs)[:, 0].float().tolist(), strict=True):
                    scores[i] = score
        return scores

    def read(self, row: Row, text: str) -> list[int]:
        """Nothing but how `reward` reads a text; an empty completion is scored like any other."""
        talk: list[Message] = [*read_messages(row["prompt"], "user"), {"role": "assistant", "content": text}]
        if self.reader.chat is None:
            prompt, answer = split_last(talk)
            return list(self.reader.pair(plain(prompt), plain(answer))["input_ids"])
        encoded = self.reader.chat.encode([talk], [tools_of(row)], "all")[0]
        if isinstance(encoded, Unfit):
            raise UserError(f"--rlhf.reward_model {self.folder}: the prompt {question_of(row)} {encoded}")
        return list(self.reader.whole(encoded.ids)["input_ids"])


def _scorer(folder: Path, run: StartedRun) -> tuple[Model, Settings]:
    """The network that scores, and the settings by which its own run read texts."""
    if (folder / paths.RECIPE).is_file():
        return _scorer_of_run(folder, run)
    if not folder.is_dir():
        raise UserError(f"--rlhf.reward_model {folder}: there is no such folder",
                        "a finished run of reward, or a model that scores")
    source = models.find(str(folder), "score")
    model = models.load(source, "score", (), seed=0, trust_remote_code=run.settings.trust_remote_code)
    if model.fresh:
        raise UserError(f"--rlhf.reward_model {folder}: it has no weights for {', '.join(model.fresh)}, so it scores nothing yet",
                        "train it first", f"ftp run --plugins reward,... --model {folder}")
    model.net.to(run.accelerator.device).eval().requires_grad_(False)
    return model, dataclasses.replace(run.settings, max_length=None)


def _scorer_of_run(folder: Path, run: StartedRun) -> tuple[Model, Settings]:
    facts = Folder(folder).read_facts()
    if not (folder / paths.MODEL).is_dir():
        raise UserError(f"--rlhf.reward_model {folder}: that run did not finish ({facts.get('status', 'unknown')})",
                        "finish it first", f"ftp run --resume {folder}")
    head = all_heads().get(str(facts.get("head")))
    if head is None or not head.gives_number:
        raise UserError(f"--rlhf.reward_model {folder}: that run trained no score (its head is '{facts.get('head')}')",
                        "name a run of the plugin reward", "ftp run --plugins reward,...")
    recipe = Folder(folder).read_recipe()
    as_trained = dataclasses.replace(run.settings, max_length=recipe.get("max_length"),
                                     split_special_tokens=recipe.get("split_special_tokens", True))
    model = models.reload(folder / paths.MODEL, device=run.accelerator.device,
                          trust_remote_code=run.settings.trust_remote_code)
    return model, as_trained
