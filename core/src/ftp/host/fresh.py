"""Python code in a fresh process of its own. Imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def run_code(
    code: str,
    arguments: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    timeout: float,
) -> subprocess.CompletedProcess[str]:
    """Run `python -P -c CODE ARGUMENTS` in a folder and keep what it prints.

    Args:
        environment: all of it, not what is added to ours.
        timeout: seconds.

    Raises:
        subprocess.TimeoutExpired: the process was still running, and was killed.
    """
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],
        cwd=folder,
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
