"""Runs that something happens to: each must end in the bits of the unbroken run, or with a word that names the fault.

    python benchmarks/chaos.py [--events 200] [--seed 0] [--kinds kill,signal] [--numbers 1-100] [--keep FOLDER]

An event breaks one tiny run (two layers, 41 rows, 8 updates) in one way, then goes on with it as a user would, by the command
that was told. Its end is good where the losses, scores and weights are bit by bit those of a run that nothing happened to, or
where the command ended with status 2 (130 after a signal), without a traceback, in words that name what was wrong. Everything is
drawn from the seed. Prints a table; exit status 1 where one event ended otherwise. Linux; needs no root and no network.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import runpy
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent.parent / "tests"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
CHECKPOINT_FILES = ("weights.safetensors", "state.pt", "manifest.json")
RECORDS = ("run.json", "run.toml", "log.jsonl", "inputs.json", "began.toml", "plugins.lock", "data.json", "risks.json",
           ".ftp.json")
LATE = ("model-unverified", ".verify-", "-> RUN/model", "run.json", "report.html", "log.jsonl")
"""Moments at the end of a run that proves its model and writes its report."""
PATIENCE = 120.0
"""Seconds that one command may take."""


class Bad(AssertionError):
    """An event that ended otherwise than it may."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: its status (negative: killed by that signal), and what it wrote."""

    status: int
    text: str


@dataclass(frozen=True)
class Event:
    """One event. `end`: `bits` or `word`; anything else is what went wrong."""

    number: int
    kind: str
    what: str
    end: str
    seconds: float


@dataclass
class World:
    """What all events share: the model, the cache, the unbroken run and its moments."""

    folder: Path
    model: Path
    context: Any
    moments: list[str] = field(default_factory=list)
    expected: dict[str, Any] = field(default_factory=dict)
    count: int = 0

    def command(self, out: Path, *more: str, proven: bool = False) -> list[str]:
        """The run that things happen to. `proven`: with the proof of model/ and the report, which take seconds."""
        quick = [] if proven else ["--no-verify", "--no-report"]
        return [
            "run", "--plugins=-leakage", "--plugins-from", f"{TESTS / 'reviews.py'}:Reviews", "--model", str(self.model),
            "--out", str(out), "--cache-dir", str(self.folder / "cache"), "--device", "cpu", "--precision", "fp32",
            "--batch-size", "8", "--max-steps", "8", "--save-steps", "2", "--eval-steps", "4", "--logging-steps", "1",
            "--learning-rate", "5e-3", "--no-baselines", *quick, *more]

    def start(self, words: Sequence[str], out: Path, trap: Mapping[str, Any] | None = None) -> tuple[Any, Path]:
        """Start a command in a process of its own; see tests/one_process.py for `trap`."""
        self.count += 1
        says = self.folder / f"says-{self.count}.txt"
        namespace = {"ARGUMENTS": list(words), "OUT": str(out), "SAYS": str(says), "TRAP": dict(trap or {}), "ENVIRONMENT": {}}
        process = self.context.Process(target=runpy.run_path, args=(str(TESTS / "one_process.py"), namespace, "__one_process__"))
        process.start()
        return process, says

    def end(self, words: Sequence[str], out: Path, trap: Mapping[str, Any] | None = None) -> Ended:
        """Do a command and wait for its end."""
        return wait(*self.start(words, out, trap))


def wait(process: Any, says: Path) -> Ended:
    """The end of a command that was started."""
    process.join(PATIENCE)
    text = says.read_text(errors="replace") if says.exists() else ""
    if process.exitcode is None:
        process.kill()
        raise Bad(f"still running after {PATIENCE:g} s: {text[-300:]}")
    return Ended(int(process.exitcode), text)


def make_world(folder: Path) -> World:
    """Make the model and the unbroken run."""
    os.environ["OMP_NUM_THREADS"] = "1"
    from ftp.host import quiet
    from ftp_testing.models import tiny

    quiet.before_imports()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ftp_testing.warm"])
    model = tiny("bert", folder / "base", hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    world = World(folder, model, context)
    out, moments = folder / "unbroken", folder / "moments.txt"
    ended = world.end(world.command(out), out, {"moments": str(moments)})
    if ended.status:
        raise SystemExit(f"the unbroken run ended with status {ended.status}:\n{ended.text}")
    world.moments, world.expected = moments.read_text().splitlines(), result(out)
    return world


def result(out: Path) -> dict[str, Any]:
    """The bits of a finished run: losses of its updates, scores, weights, predictions."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    steps = [(line["step"], line["loss"], line["grad_norm"], line["learning_rate"]) for line in lines if line["event"] == "step"]
    return {"updates": steps, "scores": (out / "scores.json").read_text(), "predictions": read_all(out / "predictions"),
            "weights": (out / "model" / "model.safetensors").read_bytes()}


def read_all(folder: Path) -> dict[str, bytes]:
    """The content of each file of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# --- what an event may end in ---


def check_words(ended: Ended, allowed: Sequence[int], names: Sequence[str] = ()) -> None:
    """A command ends with one of these statuses, without a traceback; where that is 2, some of `names` is said."""
    if "Traceback" in ended.text or ended.status not in allowed:
        raise Bad(f"status {ended.status}: {ended.text[-600:]}")
    flat = " ".join(ended.text.split())
    if ended.status == 2 and names and not any(name in flat for name in names):
        raise Bad(f"none of {list(names)} is named: {ended.text[-600:]}")


def go_on(world: World, out: Path, names: Sequence[str] = ()) -> str:
    """Go on as a user would, and say what that ends in. `names`: what a word must name where it is refused."""
    begun = (out / "run.toml").exists() or (out / "began.toml").exists()
    ended = world.end(["run", "--resume", str(out)] if begun else world.command(out), out)
    is_finished = f"ftp report {out}" in ended.text
    check_words(ended, (0, 2) if names or is_finished else (0,), names)
    if ended.status == 2 and f"ftp report {out}" in ended.text:  # finished, but for its report
        check_words(world.end(["report", str(out)], out), (0,))
        return same_bits(world, out, "")
    if ended.status == 2:
        return "word"
    return same_bits(world, out, ended.text)


def same_bits(world: World, out: Path, text: str) -> str:
    """Raise `Bad` where a finished run is not the unbroken one. A log that lost lines may, where that was told."""
    bits = result(out)
    differing = [name for name, value in world.expected.items() if bits[name] != value]
    if differing == ["updates"] and "log.jsonl is damaged" in " ".join(text.split()):
        return "word"
    if differing:
        raise Bad(f"other {', '.join(differing)} than the unbroken run: {text[-300:]}")
    return "bits"


# --- the kinds ---


def kill(world: World, out: Path, dice: random.Random) -> tuple[str, str]:
    """kill -9 at a moment: before a file is opened, synced or renamed, an update begins, an event is told."""
    number = dice.randint(1, len(world.moments))
    ended = world.end(world.command(out), out, {"action": "kill", "where": "", "number": number})
    if ended.status != -signal.SIGKILL:
        raise Bad(f"not killed: {ended.text[-300:]}")
    return short(world, number), go_on(world, out)


def kill_late(world: World, out: Path, dice: random.Random) -> tuple[str, str]:
    """kill -9 while the model is saved, proven and named, or the report is written."""
    where = dice.choice(LATE).replace("RUN", str(out))
    number = 1 if "->" in where else dice.randint(1, 3)
    trap = {"action": "kill", "where": where, "number": number}
    ended = world.end(world.command(out, proven=True), out, trap)
    if ended.status == 0:
        return f"not at {where}", same_bits(world, out, ended.text)
    return f"{where.replace(str(out), '')}, time {number}", go_on(world, out)


def kill_twice(world: World, out: Path, dice: random.Random) -> tuple[str, str]:
    """kill -9 at a moment, and again while it is resumed."""
    first, second = dice.randint(1, len(world.moments)), dice.randint(1, len(world.moments))
    world.end(world.command(out), out, {"action": "kill", "where": "", "number": first})
    if (out / "run.toml").exists():
        world.end(["run", "--resume", str(out)], out, {"action": "kill", "where": "", "number": second})
    finished = (out / "run.json").exists() and json.loads((out / "run.json").read_text()).get("status") == "finished"
    what = f"{short(world, first)}, then moment {second}"
    return what, same_bits(world, out, "") if finished else go_on(world, out)


def kill_later(world: World, out: Path, dice: random.Random) -> tuple[str, str]:
    """kill -9 from outside after some time, whatever the run is doing."""
    process, says = world.start(world.command(out), out)
    seconds = dice.uniform(0.0, 3.0)
    process.join(seconds)
    process.kill()
    ended = wait(process, says)
    if ended.status == 0:
        return f"ended within {seconds:.2f} s", same_bits(world, out, ended.text)
    return f"after {seconds:.2f} s", go_on(world, out)


def send_signal(world: World, out: Path, dice: random.Random) -> tuple[str, str]:
    """A signal that asks to end, sent twice at a moment, as a closing terminal does."""
    number, moment = dice.choice(SIGNALS), dice.randint(1, len(world.moments))
    ended = world.end(world.command(out), out, {"action": int(number), "where": "", "number": moment})
    check_words(ended, (0, 130))
    if ended.status == 130 and "--resume" not in ended.text and "stopped" not in ended.text:
        raise Bad(f"nothing says how to go on: {ended.text[-300:]}")
    what = f"{number.name} at {short(world, moment)}"
    return what, go_on(world, out) if ended.status else same_bits(world, out, ended.text)


def disk_full(world: World, out: Path, dice: random.Random) -> tuple[str, str]:
    """A disk that is full at a moment, or from then on."""
    return refuse(world, out, dice, dice.choice(("full", "stays full")), ("the disk is full", "disk full", "No space left"))


def read_only(world: World, out: Path, dice: random.Random) -> tuple[str, str]:
    """A folder that is read-only from a moment on."""
    return refuse(world, out, dice, "stays read-only", ("Read-only file system", "cannot be written"))


def refuse(world: World, out: Path, dice: random.Random, action: str, names: Sequence[str]) -> tuple[str, str]:
    """A disk that refuses to write."""
    writes = [number for number, label in enumerate(world.moments, 1) if label.startswith(("open", "fsync", "rename"))]
    number = dice.choice(writes)
    ended = world.end(world.command(out), out, {"action": action, "where": "", "number": number})
    check_words(ended, (0, 2), names)
    what = f"{action} at {short(world, number)}"
    return what, go_on(world, out) if ended.status else same_bits(world, out, ended.text)


def small_files(world: World, out: Path, dice: random.Random) -> tuple[str, str]:
    """A limit of the size of files (ulimit -f), which stands for a quota."""
    largest = dice.choice((500, 2_000, 20_000, 100_000, 200_000, 400_000))
    ended = world.end(world.command(out), out, {"largest": largest, "action": "", "number": 0})
    check_words(ended, (0, 2), ("larger than this process may write", "File too large"))
    return f"{largest:,} bytes", go_on(world, out) if ended.status else same_bits(world, out, ended.text)


def damage_checkpoint(world: World, out: Path, dice: random.Random) -> tuple[str, str]:
    """A file of the newest checkpoint, or of all, is cut, changed or gone when the run is resumed."""
    from ftp.folder.checkpoints import checkpoints_in

    break_off(world, out, dice)
    every = dice.random() < 0.3
    name, how = dice.choice(CHECKPOINT_FILES), dice.choice(tuple(DAMAGES))
    checkpoints = checkpoints_in(out / "checkpoints")
    for checkpoint in checkpoints if every else checkpoints[-1:]:
        DAMAGES[how](checkpoint / name, dice)
    return f"{name} of {'all' if every else 'the newest'} {how}", go_on(world, out)


def damage_record(world: World, out: Path, dice: random.Random) -> tuple[str, str]:
    """A file of the run folder is cut, changed or gone when the run is resumed."""
    break_off(world, out, dice)
    name, how = dice.choice(RECORDS), dice.choice(tuple(DAMAGES))
    DAMAGES[how](out / name, dice)
    return f"{name} {how}", go_on(world, out, [name])


def damage_result(world: World, out: Path, dice: random.Random) -> tuple[str, str]:
    """A file of a finished run is cut or gone, or its weights are changed: the command that is told makes it again."""
    world.end(world.command(out), out)
    files = [path for path in sorted((out / "model").iterdir()) if path.suffix not in ("", ".md")] + [out / "scores.json"]
    path = dice.choice(files)
    how = dice.choice(("cut", "gone", "changed") if path.suffix == ".safetensors" else ("cut", "gone"))
    DAMAGES[how](path, dice)
    return f"{path.relative_to(out)} {how}", go_on(world, out)


def two_runs(world: World, out: Path, dice: random.Random) -> tuple[str, str]:
    """A second run, or a resume, in a folder where one is at work."""
    process, says = world.start(world.command(out, "--reviews.wait", "0.5"), out)
    deadline = time.monotonic() + PATIENCE
    while not (out / "run.toml").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    words = dice.choice((world.command(out), ["run", "--resume", str(out)]))
    check_words(world.end(words, out), (2,), ("another run is working in this folder",))
    ended = wait(process, says)
    check_words(ended, (0,))
    return "a resume" if "--resume" in words else "a second run", same_bits(world, out, ended.text)


def edit_recipe(world: World, out: Path, dice: random.Random) -> tuple[str, str]:
    """run.toml is edited before the run is resumed: refused by name, and as it was once that is undone."""
    break_off(world, out, dice)
    changes = (
        ("batch_size = 8", "batch_size = 4"), ("seed = 0", "seed = 3"), ("rows = 41", "rows = 40"),
        ('lr_scheduler_type = "linear"', 'lr_scheduler_type = "cosine"'), ("learning_rate = 0.005", "learning_rate = 0.5"),
    )
    old, new = dice.choice(changes)
    recipe = out / "run.toml"
    recipe.write_text(recipe.read_text().replace(old, new))
    ended = world.end(["run", "--resume", str(out)], out)
    check_words(ended, (2,), (f"{old.split(' ')[0]}: ",))
    shutil.copy(out / "began.toml", recipe)
    return f"{old} -> {new}", go_on(world, out)


def other_base(world: World, out: Path, dice: random.Random) -> tuple[str, str]:
    """The base model is another one when the run is resumed."""
    base = out.with_name(f"{out.name}-base")
    shutil.copytree(world.model, base)
    own = World(world.folder, base, world.context, world.moments, world.expected, 100_000 + world.count)
    break_off(own, out, dice)
    DAMAGES["changed"](base / "model.safetensors", dice)
    ended = own.end(["run", "--resume", str(out)], out)
    check_words(ended, (2,), ("the base model", "the weights cannot be read"))
    shutil.copy(world.model / "model.safetensors", base / "model.safetensors")
    return "a bit of its weights", go_on(own, out)


def break_off(world: World, out: Path, dice: random.Random) -> None:
    """Kill a run after its first checkpoint."""
    world.end(world.command(out), out, {"action": "kill", "where": "an update begins", "number": dice.randint(4, 8)})


def cut(path: Path, dice: random.Random) -> None:
    with path.open("rb+") as file:
        file.truncate(dice.randrange(max(1, path.stat().st_size)))


def change(path: Path, dice: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(3):
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    path.write_bytes(content)


def fill(path: Path, dice: random.Random) -> None:
    path.write_bytes(dice.randbytes(200))


DAMAGES: dict[str, Callable[[Path, random.Random], None]] = {
    "cut": cut, "changed": change, "filled with noise": fill, "gone": lambda path, dice: path.unlink()}

KINDS: dict[str, tuple[int, Callable[[World, Path, random.Random], tuple[str, str]]]] = {
    "kill": (46, kill), "kill late": (8, kill_late), "kill twice": (12, kill_twice), "kill later": (12, kill_later),
    "signal": (28, send_signal),
    "disk full": (22, disk_full), "read-only": (12, read_only), "small files": (6, small_files),
    "damaged checkpoint": (20, damage_checkpoint), "damaged record": (20, damage_record), "damaged result": (6, damage_result),
    "two runs": (4, two_runs), "edited recipe": (5, edit_recipe), "other base": (3, other_base),
}
"""Kind -> its share of 200 events, and what it does."""


def short(world: World, number: int) -> str:
    """The moment of this number, without the folder."""
    return world.moments[number - 1].replace(str(world.folder / "unbroken"), "").replace("  ", " ")[:60]


def planned(events: int, kinds: Sequence[str]) -> list[str]:
    """The kind of each event: shares as in `KINDS`, each kind once at least."""
    total = sum(KINDS[kind][0] for kind in kinds)
    plan: list[str] = []
    for kind in kinds:
        plan += [kind] * max(1, round(events * KINDS[kind][0] / total))
    largest = max(kinds, key=lambda kind: KINDS[kind][0])
    plan += [largest] * (events - len(plan))
    while len(plan) > max(events, len(kinds)):  # each was rounded up
        commonest = Counter(plan).most_common(1)[0][0]
        plan.remove(commonest)
    return plan


def happen(world: World, number: int, kind: str, seed: int) -> Event:
    """One event, from its break to its end."""
    dice, started = random.Random(f"{seed} {number} {kind}"), time.perf_counter()
    out = world.folder / f"{number}-{kind.replace(' ', '-')}"
    what = ""
    try:
        what, end = KINDS[kind][1](world, out, dice)
        shutil.rmtree(out, ignore_errors=True)
    except Bad as error:
        end = str(error)
    except Exception as error:  # a folder that cannot be read is an end like any other
        end = f"{type(error).__name__}: {error}"
    return Event(number, kind, what, end, time.perf_counter() - started)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS), help="some of: " + ", ".join(KINDS))
    parser.add_argument("--numbers", default="", help="of these events only, as 1-100: each is the same in any part")
    parser.add_argument("--keep", type=Path, help="a new folder, which is kept with the runs that ended badly")
    options = parser.parse_args(arguments)
    kinds = [kind.strip() for kind in options.kinds.split(",")]
    first, _, last = options.numbers.partition("-")
    numbers = range(int(first or 1), int(last or options.events) + 1)
    with tempfile.TemporaryDirectory(prefix="ftp-chaos-") as scratch:
        folder = options.keep.resolve() if options.keep else Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        world = make_world(folder)
        events = []
        for number, kind in enumerate(planned(options.events, kinds), 1):
            if number not in numbers:
                continue
            events.append(happen(world, number, kind, options.seed))
            event = events[-1]
            verdict = event.end if event.end in ("bits", "word") else f"BAD  {event.end}"
            print(f"{number:>4}  {kind:<18}  {event.seconds:5.1f} s  {verdict:<5}  {event.what}", flush=True)
    return report(events)


def report(events: Sequence[Event]) -> int:
    """Print the table of kinds; the exit status."""
    ends = Counter((event.kind, event.end if event.end in ("bits", "word") else "bad") for event in events)
    print(f"\n{'kind':<18}  events  bits  word   bad")
    for kind in dict.fromkeys(event.kind for event in events):
        counts = [ends[kind, end] for end in ("bits", "word", "bad")]
        print(f"{kind:<18}  {sum(counts):>6}  {counts[0]:>4}  {counts[1]:>4}  {counts[2]:>4}")
    bad = sum(count for (_, end), count in ends.items() if end == "bad")
    print(f"{len(events) - bad} of {len(events)} events ended in the bits of the unbroken run, or with a word that names the "
          "fault")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
