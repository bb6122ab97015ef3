"""The plugin `mlm`: plain text, some tokens hidden and guessed."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ftp import UserError, hookimpl, option, plugin
from ftp.types import Batch, Data, Loss, LossOut, Model, Prediction, Predictions, Row, Run, Score

if TYPE_CHECKING:
    import torch

    from ftp.data.control_text import TextTokenizer

VERSION = 1
"""Raised when `encode` changes, so that no older encoded rows are taken."""


@plugin(wants=("text",), head="mask", builds_with=("model_config",))
class Mlm:
    """Train on plain text: guess hidden tokens from both sides (Devlin et al. 2019, section 3.1)."""

    mlm_probability: float = option(0.15, "share of tokens that are guessed", low=0.001, high=0.99)
    mask_replace_prob: float = option(0.8, "share of those that are replaced by the mask token", low=0, high=1)
    random_replace_prob: float = option(0.1, "share of those that are replaced by a random token; the rest stays", low=0, high=1)
    whole_word: bool = option(False, "hide all tokens of a word, or none")
    block_size: int | None = option(None, "tokens a block at most; default: what the model takes, 1024 at most", low=8)
    cross_documents: bool = option(False, "let blocks run over the ends of documents, as Transformers' run_mlm does; else "
                                          "no document sees another")
    model_config: str | None = option(None, "train from scratch: a Transformers configuration (file, folder, or JSON text) "
                                            "with fresh weights", path=True)
    tokenizer: str | None = option(None, "tokenizer of a network from scratch (folder or hub id); default: trained on the "
                                         "training rows", path=True)
    vocab_size: int = option(8192, "tokens of a tokenizer that is trained", low=261, high=1_000_000)

    @hookimpl
    def build_model(self, run: Run, data: Data) -> Model | None:
        """A network from scratch where `model_config` asks for one; else core loads a checkpoint."""
        if self.model_config is None:
            if self.tokenizer is not None:
                raise UserError("--mlm.tokenizer: a checkpoint brings its own", "it goes with --mlm.model_config")
            if self.vocab_size != type(self).vocab_size:
                raise UserError(f"--mlm.vocab_size {self.vocab_size}: a checkpoint brings its own tokenizer",
                                "it goes with --mlm.model_config")
            return None
        from ftp.model import scratch

        return scratch.build(run, data, who="mlm", config=self.model_config, tokenizer=self.tokenizer,
                             vocab_size=self.vocab_size)

    @hookimpl
    def make_loss(self, run: Run, data: Data, model: Model) -> Loss:
        """Cross entropy of the hidden tokens."""
        from ftp.data import control_text
        from ftp.data.encode import cache_key
        from ftp.losses import blocks as text
        from ftp.losses import tokens
        from ftp.losses.common import row_limit
        from ftp.net import heads, layout

        tokenizer = model.tokenizer
        self._refuse(model)
        tokenize = control_text.of_run(run, tokenizer)
        # in a text that is asked the mask is meant: it stands where a word is missing
        asking = control_text.of_run(run, tokenizer, allowed=(str(tokenizer.mask_token),))
        limit = row_limit(run, model)
        most = text.size(self.block_size, limit, "mlm")
        before, after = text.ends(tokenizer)
        masks = Masks(self, model, run.settings.seed)

        def encode(rows: Iterable[Row], split: str) -> Iterable[dict[str, Any]]:
            if split == "predict":
                return _blanks(asking, rows, limit)
            found = documents(tokenizer, tokenize, rows, self.whole_word)
            if self.cross_documents:
                return text.joined(((row, text.wrapped(one, before, after)) for row, one in found), most)
            inner = most - len(before) - len(after)
            parts = ((row, text.wrapped(part, before, after)) for row, one in found for part in text.pieces(one, inner))
            return text.together(parts, most) if split == "train" else text.alone(parts)

        def collate(rows: Sequence[Row]) -> Batch:
            if rows[0].get("asked"):
                ids = [list(row["input_ids"]) for row in rows]
                wanted = [[one if one == tokenizer.mask_token_id else layout.IGNORED for one in row] for row in ids]
                return tokens.lay(model, rows, ids, wanted, shift=False, asked=ids)
            ids, wanted = masks.hide(rows, fixed=not model.net.training)
            return tokens.lay(model, rows, ids, wanted, shift=False)

        def compute(batch: Batch) -> LossOut:
            return tokens.compute(model, batch, accuracy="masked_accuracy")

        def answer(batch: Batch, out: LossOut | None) -> list[Prediction]:
            if out is not None:  # held-out text is scored, not filled in
                return [Prediction(None)] * batch.rows
            guessed = iter(heads.logits_at(model.net, batch.inputs, batch.inputs["where"]).argmax(-1).tolist())
            filled = [[next(guessed) if one == tokenizer.mask_token_id else one for one in ids] for ids in batch.inputs["asked"]]
            return [Prediction(tokenizer.decode(ids, skip_special_tokens=True)) for ids in filled]

        key = cache_key(tokenizer, "mlm", VERSION, most, self.cross_documents, self.whole_word, tokenize.key)
        return Loss(encode, collate, compute, answer, key=key,
                    metrics={"masked_accuracy": tokens.SHARE_OF_TOKENS}, name="cross entropy of hidden tokens")

    def _refuse(self, model: Model) -> None:
        tokenizer, problems = model.tokenizer, []
        if tokenizer.mask_token_id is None:
            problems.append("the tokenizer has no mask token: mlm trains encoders, as BERT and RoBERTa are")
        if self.whole_word and not tokenizer.is_fast:
            problems.append("--mlm.whole_word: the tokenizer does not tell words (it is not a fast one)")
        if self.mask_replace_prob + self.random_replace_prob > 1:
            problems.append(f"--mlm.mask_replace_prob {self.mask_replace_prob} and --mlm.random_replace_prob "
                            f"{self.random_replace_prob}: together more than 1")
        if self.model_config is not None and hasattr(model.net, "peft_config"):
            problems.append("mlm: a network from scratch has no trained weights that adapters could leave as they are")
        if problems:
            raise UserError("\n".join(problems))

    @hookimpl
    def evaluate(self, predictions: Mapping[str, Predictions]) -> list[Score]:
        """exp of the mean loss of a hidden token; the same tokens are hidden at each evaluation of each model."""
        return [Score("masked_perplexity", math.exp(min(one.loss, 700.0)), "min", split) for split, one in predictions.items()]


class Masks:
    """Draws which tokens are hidden: anew at each step in training, always the same for a row in evaluation."""

    def __init__(self, options: Mlm, model: Model, seed: int) -> None:
        import torch

        tokenizer = model.tokenizer
        size = min(model.net.get_input_embeddings().weight.shape[0], max(tokenizer.get_vocab().values()) + 1)
        self.options, self.seed, self.mask_id = options, seed, int(tokenizer.mask_token_id)
        self.special = torch.zeros(max(size, max(tokenizer.all_special_ids) + 1), dtype=torch.bool)
        self.special[list(tokenizer.all_special_ids)] = True
        words = ~self.special
        words[size:] = False
        self.words = words.nonzero()[:, 0]

    def hide(self, rows: Sequence[Row], *, fixed: bool) -> tuple[list[list[int]], list[list[int]]]:
        """Token ids of the rows with some hidden, and labels: the hidden ids, -100 elsewhere.

        What is hidden in a row hangs on its own tokens and a number alone: in training its `draw`, which is of the run's seed
        and the step, so neither micro-batches nor processes change it; with `fixed` the run's seed. Rows without a `draw` take
        torch's global generator. Every row has a hidden token, or it would teach nothing.
        """
        import torch

        made, wanted = [], []
        for row in rows:
            generator, number = None, self.seed if fixed else row.get("draw")
            if number is not None:
                content = torch.tensor(row["input_ids"], dtype=torch.int32).numpy().tobytes()
                generator = torch.Generator().manual_seed(zlib.crc32(content, number))
            ids, labels = self._hidden(row, generator)
            made.append(ids)
            wanted.append(labels)
        return made, wanted

    def _hidden(self, row: Row, generator: torch.Generator | None) -> tuple[list[int], list[int]]:
        import torch

        ids = torch.tensor(row["input_ids"])
        free = ~self.special[ids]
        if self.options.whole_word:
            names, words = torch.tensor(row["words"]).unique(return_inverse=True)
            draw = torch.rand(len(names), generator=generator)[words]
        else:
            draw = torch.rand(len(ids), generator=generator)
        draw[~free] = 2.0
        hidden = draw < self.options.mlm_probability
        if not hidden.any():
            hidden = draw == draw.min()
        labels = torch.where(hidden, ids, -100)
        how = torch.rand(len(ids), generator=generator)
        other = self.words[torch.randint(len(self.words), (len(ids),), generator=generator)]
        masked = hidden & (how < self.options.mask_replace_prob)
        swapped = hidden & ~masked & (how < self.options.mask_replace_prob + self.options.random_replace_prob)
        ids = torch.where(masked, self.mask_id, torch.where(swapped, other, ids))
        return ids.tolist(), labels.tolist()


def documents(
    tokenizer: Any, tokenize: Any, rows: Iterable[Row], whole_word: bool
) -> Iterable[tuple[int, dict[str, list[int]]]]:
    """Each text as token ids (and numbers of their words) with its number; those without a token to hide are left out."""
    given = [(number, row["text"]) for number, row in enumerate(rows) if row["text"].strip()]
    if not given:
        return
    found = tokenize([text for _, text in given], add_special_tokens=False, return_attention_mask=False, truncation=False,
                     verbose=False)
    special, before = set(tokenizer.all_special_ids), 0
    for place, (number, _) in enumerate(given):
        ids, words = found["input_ids"][place], dict[str, list[int]]()
        if special.issuperset(ids):
            continue
        if whole_word:  # numbers go on from text to text, so that no two words of a block have the same
            words["words"] = [-1 if one is None else before + one for one in found.word_ids(place)]
            before = max(before, *words["words"]) + 1
        yield number, {"input_ids": ids, **words}


def _blanks(tokenize: TextTokenizer, rows: Iterable[Row], limit: int) -> Iterable[dict[str, Any]]:
    """Texts with blanks to fill in."""
    tokenizer = tokenize.tokenizer
    for number, row in enumerate(rows):
        ids = list(tokenize(row["text"])["input_ids"])
        if tokenizer.mask_token_id not in ids:
            raise UserError(f"{row['text'][:60]!r}: nothing to guess in it",
                            f"write {tokenizer.mask_token} where a word is missing")
        if len(ids) > limit:
            raise UserError(f"{row['text'][:60]!r}: {len(ids)} tokens, and the model takes {limit}", "shorten it")
        yield {"row": number, "input_ids": ids, "asked": True}
