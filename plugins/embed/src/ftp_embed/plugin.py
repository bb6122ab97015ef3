"""The plugin `embed`: vectors of texts, alike where the texts belong together."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ftp import UserError, forms, hookimpl, option, plugin
from ftp.types import Data, Loss, Model, Predictions, Run, Score

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

SAMPLE = Path(__file__).parent / "sample"
VERSION = 1


@plugin(
    kind="objective",
    wants=("pairs", "triplets", "scored_pairs"),
    gives=("pairs", "triplets", "scored_pairs"),
    general=True,
    head="embedding",
    suggests={"learning_rate": 2e-5, "batch_size": 64},
)
class Embed:
    """Train vectors of texts that are alike where the texts belong together (SBERT, Reimers and Gurevych 2019, arXiv:1908.10084).

    Pairs and triplets are learnt by finding each anchor's positive among all texts of the batch, on all processes; pairs with a
    score by their order. However large the batch, no more goes through the network at once than `--micro-batch-tokens` says.
    `SentenceTransformer(folder)` loads the result.
    """

    loss: Literal["auto", "ranking", "triplet", "cosent"] = option(
        "auto", "what is minimised; auto: cosent where rows have a score, else ranking (multiple negatives)")
    scale: float = option(20.0, "what cosines are multiplied by in ranking and cosent (1 / temperature)", low=0.01)
    both_ways: bool = option(False, "ranking also finds each positive's anchor")
    margin: float = option(0.2, "by how much a positive is to be nearer than the negative (triplet, cosine distance)", low=0)
    pooling: Literal["mean", "cls", "last"] = option("mean", "a text's vector: mean of its tokens, its first or its last token")
    sizes: tuple[int, ...] = option((), "learn shorter vectors too, of the first so many numbers each (Matryoshka)")
    query: str = option("", "text put in front of each anchor, such as 'query: '")
    document: str = option("", "text put in front of each positive and negative, such as 'passage: '")

    @hookimpl
    def load_data(self, run: Run) -> Mapping[str, Dataset]:
        """What --data names, else the sample: what guests of a railway tell, and the notes of its staff."""
        from ftp.data import load

        splits = load(run, SAMPLE / run.task.form, form=run.task.form)
        reads_negatives = "negative" in forms.get(run.task.form).required
        if not reads_negatives and any("negative" in rows.column_names for rows in splits.values()):
            run.tell("the column 'negative' is not read: --form triplets reads it")
        return splits

    @hookimpl(wrapper=True)
    def build_model(self) -> Generator[None, Model, Model]:
        """No vector goes through a pooler (BERT's layer behind the hidden states), so a new one need not be trained."""
        model = yield
        return replace(model, fresh=tuple(name for name in model.fresh if not name.endswith("pooler")))

    @hookimpl
    def make_loss(self, run: Run, data: Data, model: Model) -> Loss:
        from ftp.data import cache_key, control_text
        from ftp.losses import row_limit
        from ftp_embed.loss import Embedding

        size = model.net.config.get_text_config().hidden_size
        too_long = [vector_size for vector_size in self.sizes if not 0 < vector_size < size]
        if too_long:
            raise UserError(f"--embed.sizes {', '.join(map(str, too_long))}: vectors of this model have {size} numbers",
                            f"sizes between 1 and {size - 1}")
        if run.settings.shard:
            raise UserError("embed: it compares texts of all processes, which does not go with --shard",
                            "leave out --shard; --micro-batch-tokens saves memory")
        for name, module in model.net.named_modules():
            if name.endswith("pooler"):
                module.requires_grad_(False)
        tokenize = control_text.of_run(run, model.tokenizer)
        limit = row_limit(run, model)
        # E5 and its kind read queries and documents with a word in front of each
        prompts = {"anchor": self.query, "positive": self.document, "negative": self.document}
        return Embedding(
            model, tokenize, limit, self.pooling, self._of_vectors(run.task.form, size), prompts,
            run.settings.micro_batch_tokens, name=self._chosen(run.task.form),
            key=cache_key(model.tokenizer, "embed", VERSION, limit, sorted(prompts.items()), tokenize.key))

    def _chosen(self, form: str) -> str:
        """The loss of a form. `UserError` where rows lack what it reads."""
        columns = forms.get(form).required
        if self.loss == "auto":
            return "cosent" if "score" in columns else "ranking"
        column = {"ranking": "positive", "triplet": "negative", "cosent": "score"}[self.loss]
        if column not in columns:
            raise UserError(f"--embed.loss {self.loss}: not for rows of the form '{form}'",
                            f"it reads rows with the column '{column}'", "--embed.loss auto")
        return self.loss

    def _of_vectors(self, form: str, size: int) -> Callable[[Tensor, Mapping[str, Tensor]], Tensor]:
        """(vectors, what is beside them) -> [rows] losses."""
        from ftp_embed import losses

        chosen = self._chosen(form)

        def of_size(vectors: Tensor, beside: Mapping[str, Tensor]) -> Tensor:
            if chosen == "ranking":
                return losses.ranking_losses(vectors, beside["texts"], self.scale, self.both_ways)
            if chosen == "triplet":
                return losses.triplet_losses(vectors, self.margin)
            # one number for the whole batch, which weighs as much as its rows
            return losses.cosent_loss(vectors, beside["score"], self.scale).expand(len(vectors))

        return lambda vectors, beside: losses.at_each_size(lambda cut: of_size(cut, beside), vectors, (size, *self.sizes))

    @hookimpl
    def evaluate(self, data: Data, predictions: Mapping[str, Predictions]) -> list[Score]:
        from ftp_embed import evaluation

        return evaluation.scores(data, predictions, self.sizes)
