"""Core does without what only plugins need."""

from __future__ import annotations

import os
import subprocess
import sys

WALK = """
import importlib, pkgutil, sys
sys.modules["peft"] = sys.modules["trl"] = None  # as where they are not installed
import ftp
names = [one.name for one in pkgutil.walk_packages(ftp.__path__, "ftp.") if not one.name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


def test_every_module_imports_without_peft_and_trl() -> None:
    path = os.pathsep.join(folder for folder in sys.path if folder)
    ended = subprocess.run([sys.executable, "-c", WALK], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) > 40
