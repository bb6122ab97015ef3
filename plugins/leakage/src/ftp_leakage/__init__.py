"""Find evaluation rows, labels, groups, dates and benchmarks that leak into training rows."""

from __future__ import annotations

from functools import partial

from ftp import UserError, hookimpl, option, plugin
from ftp.types import Data, Risk, Run


@plugin(kind="risk", replaces=("duplicates",))
class Leakage:
    """Find evaluation rows (nearly) in train, labels and dates given away, groups in two splits."""

    threshold: float = option(
        0.8, "share of words in common that makes two texts near duplicates", low=0.5, high=1
    )
    columns: tuple[str, ...] = option((), "text columns to compare; default: those of the form")
    group_column: str | None = option(
        None, "no value of this column may be in two splits (author, patient, case ...)"
    )
    date_column: str | None = option(
        None, "no training row may be dated after the first evaluation row"
    )
    against: tuple[str, ...] = option(
        (), "benchmark files whose rows must not be in train", path=True
    )
    stop_exact: float = option(
        0.01, "share of evaluation rows in train word for word that stops", low=0, high=1
    )
    stop_sure: float = option(
        0.05,
        "share of evaluation rows surely copied from train, changed or not, that stops",
        low=0,
        high=1,
    )
    warn_sure: float = option(
        0.02,
        "share of evaluation rows surely copied from train, changed or not, that warns",
        low=0,
        high=1,
    )
    warn_near: float = option(
        0.2, "share of evaluation rows with any near duplicate in train that warns", low=0, high=1
    )
    max_rows: int = option(
        1_000_000, "rows of a split compared at most; of more, a sample is", low=1
    )

    @hookimpl
    def check_risks(self, run: Run, stage: str, data: Data) -> list[Risk]:
        """Before training: compare all splits. At other stages there is nothing new to see."""
        if stage != "data":
            return []
        from ftp_leakage.advice import request_of_run
        from ftp_leakage.check_options import CheckOptions
        from ftp_leakage.look import look
        from ftp_leakage.rows import choose_reading
        from ftp_leakage.source import make_excerpt, read_benchmarks, require_columns
        from ftp_leakage.summary import Levels
        from ftp_leakage.verdict import verdict

        if self.warn_sure > self.stop_sure:
            raise UserError(
                f"--leakage.warn_sure {self.warn_sure:g} is above "
                f"--leakage.stop_sure {self.stop_sure:g}",
                "a warning comes before a stop",
            )
        # general text is what the model should not forget: no row of it is an evaluation row
        splits = {name: rows for name, rows in data.splits.items() if name != "general"}
        if not splits:
            return [Risk("leakage", "not_run", "there are no rows to compare", stage="data")]
        require_columns(splits, self.columns, self.group_column, self.date_column, "--leakage.")
        reading = choose_reading(data.form, next(iter(splits.values())), self.columns)
        options = CheckOptions(
            threshold=self.threshold,
            group_column=self.group_column,
            date_column=self.date_column,
            benchmarks=read_benchmarks(self.against),
            most_rows=self.max_rows,
            seed=run.settings.seed if run.settings else 0,
        )
        report = look(splits, reading, options, data.labels)
        levels = Levels(self.stop_exact, self.stop_sure, self.warn_sure, self.warn_near)
        excerpt = make_excerpt(splits, reading, run.hidden)
        request = partial(request_of_run, self, run, data.form, reading)
        return [verdict(report, levels, excerpt, request)]
