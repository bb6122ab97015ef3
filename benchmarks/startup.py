"""How long `ftp` takes to answer when nothing has to be computed, with 20 more plugins installed.

    python benchmarks/startup.py [--bound 20] [--repeat 9]

Each command is timed in turn with `python -c pass`, and the best of the repeats is taken, so that other work on the
machine counts little. Prints seconds and the ratio to `python -c pass`; exit status 1 where a ratio is above the bound, or
where a command imports something heavy. The 20 plugins are made in a temporary folder; nothing is installed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PLUGINS = 20
COMMANDS = (
    ("ftp --help", ["--help"]),
    ("ftp plugins", ["plugins"]),
    ("ftp run --plugins lora,sentiment --help", ["run", "--plugins", "lora,sentiment", "--help"]),
)
HEAVY = ("torch", "transformers", "datasets", "numpy", "pandas", "pyarrow", "accelerate", "peft", "trl", "sklearn")
SOURCE = '''"""A plugin that stands in for a real one."""

from ftp import hookimpl, option, plugin


@plugin
class Dummy:
    """Give rows of a kind that nobody needs."""

    gives = ("text",)
    size: int = option(3, "a size", low=1)
    rate: float = option(0.5, "a rate", low=0, high=1)
    names: tuple[str, ...] = option((), "names")

    @hookimpl
    def load_data(self, run):
        return {}
'''
METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nSummary: stands in for a plugin\n" + "Classifier: x\n" * 30


def plant(site: Path, count: int = PLUGINS) -> None:
    """Make `count` distributions with a plugin each, which Python finds when `site` is on its path."""
    for number in range(count):
        module = f"ftp_dummy_{number}"
        (site / f"{module}.py").write_text(SOURCE)
        info = site / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(METADATA.format(name=f"ftp-dummy-{number}"))
        (info / "entry_points.txt").write_text(f"[ftp]\ndummy-{number} = {module}:Dummy\n")


def seconds(arguments: list[str], environment: dict[str, str]) -> float:
    """Wall time of one fresh Python process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return time.perf_counter() - started


def measure(site: Path, repeat: int) -> dict[str, dict[str, float]]:
    """Best time of each command and of `python -c pass`, taken in turn; and the ratio of the two."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}
    found = {}
    for name, words in COMMANDS:
        ours, bare = [], []
        for _ in range(repeat + 1):  # the first of each writes byte code, and is not counted
            bare.append(seconds(["-c", "pass"], environment))
            ours.append(seconds(["-m", "ftp", *words], environment))
        found[name] = {"seconds": min(ours[1:]), "bare": min(bare[1:]), "ratio": min(ours[1:]) / min(bare[1:])}
    return found


def heavy(site: Path) -> dict[str, list[str]]:
    """Which heavy libraries each command imports; none, it is to be hoped."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}
    found = {}
    for name, words in COMMANDS:
        program = (f"import sys, json; from ftp.cli import main; main.call({words!r}); "
                   f"print(json.dumps([one for one in {HEAVY!r} if one in sys.modules]))")
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
        found[name] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    """Measure, print, compare with the bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bound", type=float, default=20.0, help="largest ratio to `python -c pass` (default 20)")
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plant(Path(folder))
        found, imported = measure(Path(folder), asked.repeat), heavy(Path(folder))
    if asked.json:
        print(json.dumps({"commands": found, "heavy": imported, "bound": asked.bound}, indent=2))
    else:
        for name, one in found.items():
            print(f"{name:<42} {one['seconds']:.3f} s  {one['ratio']:5.1f} x python -c pass ({one['bare']:.3f} s)"
                  f"  imports {', '.join(imported[name]) or 'nothing heavy'}")
    slow = [name for name, one in found.items() if one["ratio"] > asked.bound]
    for name in slow:
        print(f"{name}: above {asked.bound:g} x python -c pass", file=sys.stderr)
    return 1 if slow or any(imported.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
