"""The short version of benchmarks/chaos.py: one event of each kind."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

CHAOS = Path(__file__).parent.parent / "benchmarks" / "chaos.py"


@pytest.mark.skipif(sys.platform != "linux", reason="moments are seen through /proc")
def test_one_event_of_each_kind_ends_in_bits_or_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    chaos = runpy.run_path(str(CHAOS))
    kinds = [kind for kind in chaos["KINDS"] if kind != "kill late"]  # tests/test_finished.py has the proof of model/
    status = chaos["main"](["--events", str(len(kinds)), "--seed", "11", "--kinds", ",".join(kinds)])
    output = capfd.readouterr().out
    assert status == 0, output
    assert f"{len(kinds)} of {len(kinds)} events" in output.splitlines()[-1]


def test_an_end_that_is_neither_is_bad(capsys: pytest.CaptureFixture[str]) -> None:
    """A check that cannot fail is none: other bits, a traceback, another status and a word that names nothing are bad."""
    chaos = runpy.run_path(str(CHAOS))
    ended, check = chaos["Ended"], chaos["check_words"]
    for command, allowed, names in ((ended(1, ""), (0, 2), ()), (ended(2, "Traceback (most recent"), (2,), ()),
                                    (ended(2, "the disk is full"), (2,), ("read-only",)), (ended(-9, ""), (0,), ())):
        with pytest.raises(chaos["Bad"]):
            check(command, allowed, names)
    check(ended(2, "the disk\nis full"), (0, 2), ("the disk is full",))
    event = chaos["Event"]
    assert chaos["report"]([event(1, "kill", "", "bits", 1.0), event(2, "kill", "", "other weights", 1.0)]) == 1
    assert chaos["report"]([event(1, "kill", "", "bits", 1.0), event(2, "kill", "", "word", 1.0)]) == 0
    assert "2 of 2 events" in capsys.readouterr().out.splitlines()[-1]
