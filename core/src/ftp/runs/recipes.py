"""The recipe that a run follows: what it began with, what was changed since on purpose, and what somebody edited.

    began.toml   the recipe that the run began with; run.json has its hash, and each checkpoint that of the recipe in force
    run.toml     the recipe in force: began.toml with the changes that were accepted at a resume (`changes` in run.json)

Recipes are compared by what they say: comments and formatting are no change. Imports nothing heavy.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ftp.errors import Problem, UserError
from ftp.folder import paths
from ftp.folder.files import Folder
from ftp.folder.json_files import ChangeFact, Facts
from ftp.folder.log import read_log
from ftp.options import flatten
from ftp.plugins.plan import Prepared
from ftp.train import checkpoint

BEGAN = paths.BEGAN
BOOKS = ("save_steps", "save_total_limit", "logging_steps", "eval_steps", "eval_batch_tokens", "early_stopping_patience",
         "on_risk", "baselines", "verify", "report", "report_examples", "cache_dir")
"""What is measured, kept and shown, and when training ends: no update becomes another."""
MACHINE = ("processes", "device", "micro_batch_size", "micro_batch_tokens", "gradient_checkpointing")
"""How the same updates are computed: their last digits may differ, which is told."""
LONGER = ("max_steps", "epochs")
"""More updates than before: the learning rate of what is left follows the new end, which is told."""
HARMLESS = (*BOOKS, *MACHINE, *LONGER)
"""The options that may be given with `--resume`; see docs/start.md."""


@dataclass(frozen=True)
class Change:
    """One option that is not what it was. None: it was not given."""

    key: str
    old: object
    new: object

    def __str__(self) -> str:
        return f"{self.key}: {shown(self.old)} -> {shown(self.new)}"


def begin(folder: Folder, recipe: str) -> None:
    """Keep the recipe that a run begins with, and its hash."""
    folder.write_began(recipe)
    digest = fingerprint(_options_in(recipe))
    folder.write_facts(began=digest, recipe=digest, changes=[])


def fingerprint(options: Mapping[str, object]) -> str:
    """A hash of what a recipe says: its options by dotted key, and its plugins."""
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()


def accept(out: Path, prepared: Prepared) -> list[Change]:
    """The changes that a resume makes on purpose. Raises `UserError` where the recipe was edited, or where an option is given
    that would make it another run. A run without a checkpoint has learnt nothing yet: it may still change in any way."""
    changed = changes(out, prepared)
    # flags are meant, edits of the file may be a slip: only the former are taken
    if not checkpoint.any_in(out / paths.CHECKPOINTS):
        return changed
    edited = []
    problems = []
    for change in changed:
        if prepared.origin.get(change.key) != "flags":
            edited.append(change)
        elif reason := _harm(out, change):
            problems.append(_refused(out, change, reason))
    if edited:
        problems.append(_edited(out, edited))
    if problems:
        raise UserError(problems)
    return changed


def check_plugins(out: Path, plugins: Sequence[str]) -> None:
    """Raise `UserError` where the list of plugins was edited, before the options of those that are gone are complained about."""
    if not checkpoint.any_in(out / paths.CHECKPOINTS):
        return
    began = _began(out, Folder(out).read_facts()).get("plugins")
    if began is not None and began != list(plugins):
        raise UserError([_edited(out, [Change("plugins", began, list(plugins))])])


def write_down(folder: Folder, changed: list[Change], recipe: str) -> None:
    """Put accepted changes into run.json: what, when, and the hash of the recipe in force from now on. A run without a checkpoint
    begins anew."""
    if not checkpoint.any_in(folder.path / paths.CHECKPOINTS):
        begin(folder, recipe)
        return
    if not changed:
        return
    now = round(time.time(), 3)
    history = list(folder.read_facts().get("changes", []))
    for change in changed:
        history.append(ChangeFact(time=now, key=change.key, old=change.old, new=change.new))
    folder.write_facts(changes=history, recipe=fingerprint(_options_in(recipe)))


def changes(out: Path, prepared: Prepared) -> list[Change]:
    """How a recipe differs from the one that the run in `out` follows. Empty where nothing is kept to compare with (a run of an
    older version). Raises `UserError` where what was kept is damaged, and the recipe is not that of the checkpoints."""
    now = _options_in(prepared.anywhere().recipe())
    before = _in_force(out, now)
    return [] if before is None else _differences(before, now)


def since_began(out: Path, prepared: Prepared) -> list[Change]:
    """How a recipe differs from both the one that the run in `out` began with and the one in force. Empty where neither is
    known."""
    facts = Folder(out).read_facts()
    began = _began(out, facts)
    now = _options_in(prepared.anywhere().recipe())
    if not began:
        return []
    # an option that is again as the run began was changed at a resume, by a flag that the recipe does not have
    other_than_begun = {change.key for change in _differences(began, now)}
    since_in_force = _differences(_with_changes(out, began, facts), now)
    return [change for change in since_in_force if change.key in other_than_begun]


def is_harmless(out: Path, change: Change) -> bool:
    """Whether a run takes a change at a resume."""
    return not _harm(out, change)


def restore_command(out: Path) -> str:
    """The command that puts back the recipe that a run began with."""
    return f"cp {shlex.quote(str(out / BEGAN))} {shlex.quote(str(out / paths.RECIPE))}"


def allowed() -> str:
    """What may be given with `--resume`, as flags."""
    return ", ".join("--" + key.replace("_", "-") for key in HARMLESS)


def _in_force(out: Path, now: Mapping[str, object]) -> dict[str, object] | None:
    """The options of the recipe that the run in `out` follows; None where nothing is kept of it.

    Args:
        now: the options of the recipe that is there, which is known by its hash.
    """
    folder = Folder(out)
    facts = folder.read_facts()
    expected = facts.get("recipe") or _of_newest_checkpoint(out)  # run.json may have been lost
    if expected is None:
        return None
    if fingerprint(now) == expected:
        return dict(now)
    began = _began(out, facts)
    if not began:
        raise UserError(f"--resume {out}: {BEGAN} is missing or damaged, and {paths.RECIPE} is not the recipe that the run "
                        "was made with", "put one of them back, or start another run",
                        f"ftp run {out / paths.RECIPE} --out {out}-anew")
    return _with_changes(out, began, facts)


def _with_changes(out: Path, began: Mapping[str, object], facts: Facts) -> dict[str, object]:
    """The recipe in force: what a run began with, and the changes that were accepted since."""
    in_force = dict(began)
    for change in facts.get("changes", []):
        try:
            in_force[str(change["key"])] = change["new"]
        except (TypeError, KeyError) as error:
            raise UserError(f"{out / paths.FACTS}: its list of changes cannot be read", "the file is damaged: put it back, or "
                            "move it away to go on without what it says") from error
    return in_force


def _began(out: Path, facts: Facts) -> dict[str, object]:
    """What the recipe says that a run began with; empty where it is missing or damaged, as its hash in run.json shows."""
    try:
        began = _options_in((out / BEGAN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    digest = fingerprint(began)
    return began if facts.get("began", digest) == digest else {}


def _differences(before: Mapping[str, object], now: Mapping[str, object]) -> list[Change]:
    """The options that are not what they were. What a recipe leaves out and what it calls "none" are the same."""
    differences = []
    for key in sorted({*before, *now}):
        old = _value(before, key)
        new = _value(now, key)
        if old != new:
            differences.append(Change(key, old, new))
    return differences


def _value(options: Mapping[str, object], key: str) -> object:
    value = options.get(key)
    return None if value == "none" else value


def _of_newest_checkpoint(out: Path) -> str | None:
    newest = checkpoint.newest(out / paths.CHECKPOINTS)
    recipe = checkpoint.origin(newest).get("recipe") if newest is not None else None
    return str(recipe) if recipe else None


def _options_in(recipe: str) -> dict[str, object]:
    """The options of the text of a recipe by dotted key, its plugins among them."""
    return flatten(tomllib.loads(recipe))


def _harm(out: Path, change: Change) -> str:
    """Why an option may not be changed at a resume; empty where it may."""
    if change.key not in HARMLESS:
        return "it would make the rest another run"
    if change.key not in LONGER:
        return ""
    before = change.old
    if change.key == "max_steps":  # a run by epochs has none, but its log says how many updates they are
        before = _updates(out) or before
    if not isinstance(change.new, (int, float)) or (isinstance(before, (int, float)) and change.new < before):
        return f"it may only grow (it is {shown(before)})"
    return ""


def _updates(out: Path) -> int | None:
    """How many updates the run was to make, as its log says."""
    total = None
    for line in read_log(out / paths.LOG):
        if line.get("event") == "started" and "total" in line:
            total = int(line["total"])
    return total


def _refused(out: Path, change: Change, reason: str) -> Problem:
    return Problem(f"--resume {out}: {change} cannot be changed: {reason}", f"with --resume may be given: {allowed()}",
                   f"ftp run {out / paths.RECIPE} --out {out}-anew --{change.key.replace('_', '-')} {shown(change.new)}")


def _edited(out: Path, edited: list[Change]) -> Problem:
    listed = "; ".join(map(str, edited))
    fix = f"put back what the run follows ({restore_command(out)}), or start another run with the recipe as it is now"
    flags = [f"--resume-with {change.key}={shown(change.new)}" for change in edited]
    if all(is_harmless(out, change) for change in edited):
        fix += f"; these changes are harmless, and taken with: ftp run --resume {out} {' '.join(flags)}"
    return Problem(f"--resume {out}: {paths.RECIPE} was changed since this run began: {listed}", fix,
                   f"ftp run {out / paths.RECIPE} --out {out}-anew")


def shown(value: object) -> str:
    """A value as it is given to an option."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(map(str, value)) or "none"
    return str(value)
