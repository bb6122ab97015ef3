"""The plugin is part of every run, changes no number but by rounding, and can be left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ftp
from ftp.plugins.find import discover
from ftp_cpu import row_wise_adamw
from ftp_testing.models import tiny

Losses = Callable[..., list[float]]
CHECKS_LEFT_OUT = ("-leakage", "-preflight", "-overfitting", "-underfitting", "-forgetting")


@pytest.fixture
def losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Losses:
    """The loss of each update of a run of three, on a network without dropout whose table is updated by rows."""
    monkeypatch.setattr(row_wise_adamw, "FEWEST", 1)
    model = tiny("bert", tmp_path / "bert")
    rows = [f"{'good' if i % 2 else 'bad'} soup {i},{'yes' if i % 2 else 'no'}" for i in range(32)]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *rows]))

    def train(*more: str, **options: Any) -> list[float]:
        out = tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
        ftp.run(["full", "classify", *CHECKS_LEFT_OUT, *more], data=str(tmp_path / "rows.csv"), model=str(model),
                max_steps=3, logging_steps=1, batch_size=8, validation_share=0.25, out=out, cache_dir=tmp_path / "cache",
                baselines=False, verify=False, report=False, device="cpu", precision="fp32", **options)
        events = map(json.loads, (out / "log.jsonl").read_text().splitlines())
        return [event["loss"] for event in events if event["event"] == "step"]

    return train


def test_it_is_a_default_that_can_be_left_out(losses: Losses, monkeypatch: pytest.MonkeyPatch) -> None:
    assert discover()["cpu"][0].default
    updates: list[Any] = []
    update = row_wise_adamw.update
    monkeypatch.setattr(row_wise_adamw, "update", lambda optimizer: (updates.append(optimizer), update(optimizer)))
    seen: list[bool] = []
    by_rows = row_wise_adamw._update
    monkeypatch.setattr(row_wise_adamw, "_update", lambda *arguments: (seen.append(True), by_rows(*arguments)))

    with_it = losses()
    assert len(updates) == 3 and len(seen) == 9, "the three tables of BERT in each update"
    without = losses("-cpu")
    assert len(updates) == 3
    assert with_it == pytest.approx(without, rel=1e-4) and len(without) == 3


def test_a_step_of_another_plugin_meets_no_gradients_that_are_rows(losses: Losses, tmp_path: Path) -> None:
    plugin = tmp_path / "own.py"
    plugin.write_text('''import ftp


@ftp.plugin(kind="extra")
class Own:
    """Takes core's step itself."""

    @ftp.hookimpl
    def train_step(self, run, loss, batches, optimizer):
        from ftp.train.update import update

        out = update(run, loss, batches, optimizer)
        is_sparse = [getattr(module, "sparse", False) for module in loss.modules()]
        if any(is_sparse):
            raise ftp.UserError("a table gives rows", "none should")
        return out
''')
    assert len(losses(plugins_from=[f"{plugin}:Own"])) == 3
