"""The events that the kit sends are those of the loop."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import ftp
from ftp.types import Event
from ftp_testing import events
from ftp_testing.models import tiny
from ftp_testing.subject import ROWS

LISTENER = '''
import json
from ftp import hookimpl, plugin

@plugin(kind="extra")
class Listener:
    """Write all events down."""

    @hookimpl
    def on_event(self, run, event):
        with (run.out / "heard.jsonl").open("a") as file:
            print(json.dumps([type(event).__name__, event.step, sorted(vars(event))]), file=file)
'''


def outline(sent: Iterable[Event]) -> list[list[object]]:
    """Class, update and names of values of each event."""
    return [[type(event).__name__, event.step, sorted(vars(event))] for event in sent]


def test_the_kit_sends_what_the_loop_sends(tmp_path: Path) -> None:
    listener = tmp_path / "listener.py"
    listener.write_text(LISTENER)
    ftp.run(["sft", "-leakage"], plugins_from=[f"{listener}:Listener", ROWS], out=tmp_path / "run",
            model=str(tiny("llama", tmp_path / "llama")), max_steps=events.TOTAL, batch_size=2, eval_steps=2, save_steps=2,
            logging_steps=1, max_eval_rows=4, device="cpu", verify=False, report=False, baselines=False)
    heard = [json.loads(line) for line in (tmp_path / "run" / "heard.jsonl").read_text().splitlines()]
    assert heard == outline(events.of_a_run(tmp_path / "run"))


def test_the_kit_knows_every_event() -> None:
    sent = [*events.of_a_run(Path()), *events.of_a_run(Path(), last=2)]
    assert {type(event) for event in sent} == set(Event.__subclasses__())
