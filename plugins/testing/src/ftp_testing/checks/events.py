"""Checks of plugins that hear what happens (`on_event`). Heavy: imports torch."""

from __future__ import annotations

from ftp.errors import PluginError
from ftp_testing import events
from ftp_testing.outcome import Fault, NotApplicable, check
from ftp_testing.scene import build
from ftp_testing.subject import Subject

LIVES = {"a whole run": (0, events.TOTAL), "an interrupted run": (0, 3), "its resume": (3, events.TOTAL),
         "the resume of a run at its end": (events.TOTAL, events.TOTAL)}
"""Runs whose events are sent: the updates between which they train."""


@check("events")
def hears_every_event(subject: Subject) -> str:
    """Every event of a whole run, of an interrupted one and of its resume is heard without an error, and answered by nothing or a
    `Stop`."""
    if "domain" in subject.parts:
        raise NotApplicable("a domain hears those of real runs: see runs-to-the-end and survives-kill")
    number = 0
    for life, (first, last) in LIVES.items():
        scene = build(subject, begins=False)
        for event in events.of_a_run(scene.folder, first, last):
            try:
                scene.tell(event)
            except PluginError as error:
                raise Fault(f"{type(event).__name__} at update {event.step} of {life}: {error}",
                            f"it has {', '.join(vars(event))}; answer nothing or ftp.types.Stop, and expect a resume") from error
            number += 1
    return f"{number} events of {', '.join(LIVES)}"
