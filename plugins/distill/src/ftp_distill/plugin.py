"""The plugin `distill`: a teacher's answers mixed into the loss of the head."""

from __future__ import annotations

from collections.abc import Generator
from typing import Literal

from ftp import UserError, forms, heads, hookimpl, option, plugin
from ftp.types import Data, Loss, Model, Run


@plugin(kind="extra")
class Distill:
    """Learn from the answers of a larger model beside those of the rows (Hinton et al. 2015, arXiv:1503.02531)."""

    teacher: str | None = option(None, "a finished run, a model folder, an offered name or a hub id; default: the model as it "
                                       "was before the run", path=True)
    alpha: float = option(0.5, "share of the teacher in the loss; the rest is the head's own", low=0, high=1)
    temperature: float = option(2.0, "both distributions are softened by it", low=0.01)
    divergence: Literal["forward", "reverse", "jsd"] = option(
        "forward", "forward: KL(teacher, student); reverse: KL(student, teacher); jsd: between both (arXiv:2306.13649)")
    beta: float = option(0.5, "of jsd: the teacher's weight in the mixture of both", low=0.001, high=0.999)

    @hookimpl(wrapper=True)
    def make_loss(self, run: Run, data: Data, model: Model) -> Generator[None, Loss, Loss]:
        """Mix the divergence from the teacher into the loss that is there."""
        loss = yield
        head, form = heads.get(run.task.head), forms.get(run.task.form)
        is_heard = head.is_over_vocabulary or head.picks_class_of == "row"
        # pairs of answers, ratings and prompts are learnt by losses that no teacher's answers take part in
        if not is_heard or form.sequence_names or form.of_kind("rating") or form.has_prompts_alone:
            raise UserError(f"distill: a teacher is heard on classes of rows and on tokens, not on the head '{run.task.head}' "
                            f"with rows of the form '{run.task.form}'", "what fits: sentiment, classify, sft, clm, mlm")
        if loss.makes_rows:
            raise UserError("distill: this objective makes its own rows, which a teacher has not seen", "sft and clm fit")
        if not data.splits:  # a finished run, which answers without its teacher
            return loss
        if self.divergence != "jsd" and self.beta != 0.5:
            raise UserError(f"--distill.beta {self.beta}: the divergence '{self.divergence}' has none",
                            "leave it out, or take jsd", "--distill.divergence jsd")
        from ftp.losses import wrapped
        from ftp_distill import mixing, teachers

        asked = teachers.find(run, data, model, self.teacher)
        formula = mixing.Formula(self.alpha, self.temperature, self.divergence, self.beta)
        return wrapped(loss, compute=mixing.compute(model, loss, asked, formula), name=f"{loss.name}, with a teacher")
