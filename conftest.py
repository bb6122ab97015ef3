"""What all tests share: which are slow, how two workers divide them, and proofs of saved models that are forked."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent

SLOW = (
    "tests/test_default_run.py",
    "tests/test_packages.py",
    "tests/test_processes.py",
    "tests/test_plan_memory.py",
    "tests/test_chaos.py",
    "tests/test_conformance.py",
    "tests/test_grid.py",
    "tests/test_docs.py",
    "plugins/testing/tests/test_faults.py",
    "tests/test_fuzz.py",
    "core/tests/test_launch.py",
    "core/tests/test_merging.py",
    "plugins/export/tests",
    "core/tests/test_imports.py",
    "plugins/terminal-chat/tests",
    "core/tests/report/test_page.py",
    "core/tests/report/test_browser.py",
    "plugins/quantize/tests",
    "plugins/rlhf/tests",
    "plugins/sft/tests/test_sft_run.py",
    "plugins/sft/tests/test_seq2seq.py",
    "plugins/preference/tests/test_traps.py",
    "plugins/preference/tests/test_runs.py",
    "plugins/testing/tests",
    "tests",
)
"""Files and folders that are marked slow, those that take longest first: they also run first, so that neither of two workers
has a long one left at the end. Single tests that take seconds are marked where they stand."""

QUICK = (
    "tests/test_plan.py",
    "tests/test_workspace.py",
    "tests/test_security.py",
    "tests/test_control_text.py",
    "tests/test_optional_libraries.py",
)
"""What is in a slow folder and takes no time."""

ONE_BY_ONE = ("tests/test_grid.py", "tests/test_plan_memory.py", "plugins/testing/tests/test_faults.py")
"""Files whose tests share no run: both workers take of them. The tests of any other file go to one worker."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark and order."""
    for item in items:
        if slowness(item.path.relative_to(ROOT).as_posix()) < len(SLOW):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: slowness(item.path.relative_to(ROOT).as_posix()))  # stable: files stay together


@pytest.hookimpl(optionalhook=True)  # of xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out tests by `group_of`. The marks of xdist's own `loadgroup` are not seen under pytest 9.2."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return ByGroup(config, log)


def slowness(file: str) -> int:
    """The place of a file in `SLOW`; behind all of them where it is quick."""
    if file in QUICK:
        return len(SLOW)
    for rank, path in enumerate(SLOW):
        if file == path or file.startswith(f"{path}/"):
            return rank
    return len(SLOW)


def group_of(nodeid: str) -> str:
    """What a test has to be with on one worker, as they share fixtures or a cache; the test itself where it is alone."""
    file, _, name = nodeid.partition("::")
    if file in ONE_BY_ONE:
        return nodeid
    if file == "tests/test_conformance.py" and "[" in name:
        case = name.partition("[")[2]  # the plugin, a dash, and the check
        return f"kit of {max((plugin for plugin in plugins() if case.startswith(f'{plugin}-')), key=len, default='')}"
    return file


@cache
def plugins() -> tuple[str, ...]:
    """Names of the installed plugins."""
    from ftp.plugins.find import installed

    return tuple(name for name, _ in installed())


@pytest.fixture(scope="session", autouse=True)
def forked_proofs() -> Iterator[None]:
    """A proof of model/ starts in a second: Transformers and PEFT are imported once for all. Commands in processes of their own
    (test_default_run.py, test_packages.py) and core/tests/test_model.py start Python anew."""
    from ftp_testing.plain_forks import PlainPython

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ftp.host.fresh.run_code", PlainPython().run_code)
        yield


@pytest.fixture(scope="session", autouse=True)
def short_runs_cost_little() -> Iterator[None]:
    """Leave out what a short run pays for a long one: about a hundred waits for the disk, and a walk over every object of the
    imported libraries at its end. Tests of the waits themselves count their own."""
    import peft  # noqa: F401
    import transformers  # noqa: F401

    gc.collect()
    gc.freeze()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield
    gc.unfreeze()
