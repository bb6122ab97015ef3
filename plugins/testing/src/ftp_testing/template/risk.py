"""The risk check plugin-name: read the evidence of a run, and say what is wrong with it."""

from __future__ import annotations

from collections import Counter

from ftp import hookimpl, option, plugin
from ftp.types import Data, Risk, Run


@plugin
class PluginName:
    """Warn when most training rows are of one class: a model that always names it would look good."""

    # A field is an option: --plugin-name.share 0.9 on the command line, share = 0.9 in a recipe.
    share: float = option(0.8, "share of training rows in one class that is a warning", low=0, high=1)

    @hookimpl
    def check_risks(self, run: Run, stage: str, data: Data) -> list[Risk]:
        """Once, before anything is trained. Other stages are start, evaluation and end."""
        if stage != "data":
            return []
        rows = data.splits.get("train")
        if rows is None or not hasattr(rows, "num_rows") or "label" not in rows.column_names or not len(rows):
            # Nothing was compared: say so and why. It is never ok then.
            return [Risk("plugin-name", "not_run", "there are no stored training rows with labels")]
        label, count = Counter(rows["label"][:]).most_common(1)[0]
        share = count / len(rows)
        name = data.labels[label] if isinstance(label, int) and 0 <= label < len(data.labels) else label
        finding = f"{share:.0%} of {len(rows)} training rows are '{name}'"
        # The numbers behind the verdict.
        evidence = {"rows": len(rows), "class": name, "count": count, "share": round(share, 4)}
        if share > self.share:
            # A warning says what to do about it, as commands that can be copied.
            advice = run.command("--metric-for-best-model", "macro_f1")
            return [Risk("plugin-name", "warn", f"{finding}: accuracy says little", evidence, (advice,))]
        return [Risk("plugin-name", "ok", finding, evidence)]
