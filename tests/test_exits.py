"""A plugin that calls sys.exit while a run goes on: status 1, the plugin is named, and the run's record says so."""

from __future__ import annotations

import json

import pytest

from ftp.cli.main import call

EXITS = """
import dataclasses, sys
from ftp import hookimpl, plugin
from ftp.types import Step

@plugin
class Event:
    "Ends the process at an event."
    @hookimpl
    def on_event(self, run, event):
        if isinstance(event, Step):
            sys.exit(0)

@plugin
class Compute:
    "Ends the process in the loss."
    @hookimpl(wrapper=True)
    def make_loss(self, run, data, model):
        from ftp.losses import wrapped
        loss = yield
        return wrapped(loss, compute=lambda batch: sys.exit(0))
"""


@pytest.mark.parametrize(("cls", "named"), [("Event", "plugin 'event'"), ("Compute", "plugin 'compute'")])
def test_a_run_whose_plugin_exits_failed(tiny_bert, tmp_path, capsys, cls, named):
    (tmp_path / "exits.py").write_text(EXITS)
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"a warm room {n},{n % 2}\n" for n in range(24)))
    values = {
        "plugins": "full,classify,-leakage,-forgetting,-overfitting,-underfitting,-preflight",
        "plugins-from": f"{tmp_path / 'exits.py'}:{cls}", "model": tiny_bert, "data": tmp_path / "rows.csv",
        "out": tmp_path / "run", "max-steps": 1, "device": "cpu", "precision": "fp32"}
    options = [f"--{name}={value}" for name, value in values.items()]
    assert call(["run", "--no-baselines", "--no-verify", "--no-report", *options]) == 1
    message = capsys.readouterr().err
    assert named in message and "exits.py" in message and "it called sys.exit(0)" in message and "Traceback" not in message
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["status"] == "failed" and "sys.exit(0)" in facts["reason"]
