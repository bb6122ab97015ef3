"""How long `ftp` takes to answer when nothing has to be computed, with 20 more plugins installed.

    python benchmarks/startup.py [--bound 25] [--repeat 9]

Each command is timed in turn with `python -c pass`; processor time is compared and the best of the repeats taken, so that
other work on the machine counts little. Prints seconds and the ratio to `python -c pass`; exit status 1 where a ratio is
above the bound (25: 0.3 s on a machine where Python itself starts in 0.012 s), or where a command imports something heavy.
The 20 plugins are made in a temporary folder; nothing is installed.
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


@plugin(gives=("text",))
class Dummy:
    """Give rows of a kind that nobody needs."""

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


def took(arguments: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Wall time and processor time of one fresh Python process; the latter counts other work on the machine little."""
    started = time.perf_counter()
    before = spent()
    quiet = subprocess.DEVNULL
    subprocess.run([sys.executable, *arguments], env=environment, stdout=quiet, stderr=quiet, check=False)
    wall = time.perf_counter() - started
    return wall, spent() - before or wall


def spent() -> float:
    """Processor time of all processes that have ended so far; nothing where the system does not tell."""
    try:
        import resource
    except ImportError:  # not on Windows
        return 0.0
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(site: Path, repeat: int) -> dict[str, dict[str, float]]:
    """Best times of each command and of `python -c pass`, taken in turn, and the ratio of their processor times."""
    environment = surroundings(site)
    measured = {}
    for name, words in COMMANDS:
        ours, bare = [], []
        for _ in range(repeat + 1):  # the first of each writes byte code, and is not counted
            bare.append(took(["-c", "pass"], environment))
            ours.append(took(["-m", "ftp", *words], environment))
        wall_times, cpu_times = zip(*ours[1:], strict=True)
        _, bare_times = zip(*bare[1:], strict=True)
        seconds = min(cpu_times)
        bare_seconds = min(bare_times)
        measured[name] = {"wall": min(wall_times), "seconds": seconds, "bare": bare_seconds,
                          "ratio": seconds / max(bare_seconds, 1e-3)}
    return measured


def surroundings(site: Path) -> dict[str, str]:
    """The environment with `site` on Python's path, and byte code kept there, as a user's Python keeps it."""
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONPYCACHEPREFIX": str(site / "byte-code")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def heavy(site: Path) -> dict[str, list[str]]:
    """Which heavy libraries each command imports; none, it is to be hoped."""
    environment = surroundings(site)
    imported = {}
    for name, words in COMMANDS:
        program = (f"import sys, json; from ftp.cli import main; main.call({words!r}); "
                   f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))")
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
        imported[name] = json.loads(done.stdout.splitlines()[-1])
    return imported


def main() -> int:
    """Measure, print, compare with the bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bound", type=float, default=25.0, help="largest ratio to `python -c pass` (default 25)")
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plant(Path(folder))
        measured, imported = measure(Path(folder), options.repeat), heavy(Path(folder))
    if options.json:
        print(json.dumps({"commands": measured, "heavy": imported, "bound": options.bound}, indent=2))
    else:
        for name, times in measured.items():
            print(f"{name:<42} {times['seconds']:.3f} s of processor time, {times['wall']:.3f} s in all  {times['ratio']:5.1f} x "
                  f"python -c pass ({times['bare']:.3f} s)  imports {', '.join(imported[name]) or 'nothing heavy'}")
    slow = [name for name, times in measured.items() if times["ratio"] > options.bound]
    for name in slow:
        print(f"{name}: above {options.bound:g} x python -c pass", file=sys.stderr)
    return 1 if slow or any(imported.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
