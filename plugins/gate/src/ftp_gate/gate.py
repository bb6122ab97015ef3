"""What of a run lets continuous integration pass, and what makes it fail: a policy, and the outcome of each of its rules.

Fails closed: a run that is not finished, a verdict or score that is missing, a check that compared nothing, and a number that is
not finite fail, unless the policy says otherwise in so many words. This module imports nothing heavy.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard

from ftp import Problem, UserError, nearest
from ftp.folder import listing, state, writing
from ftp.folder.files import Folder
from ftp.types import Risk

AT = ("note", "warn", "stop", "never")
"""From which level on a verdict fails; the default is stop."""
NOT_RUN = ("fail", "pass")
FIELDS = ("at", "not_run", "risks", "scores")
RANKS = {"ok": 0, "note": 1, "warn": 2, "stop": 3}


@dataclass(frozen=True)
class RiskRule:
    """What of one check fails. `at`: this level or a worse one. `not_run`: whether it fails where nothing was compared."""

    at: str = "stop"
    not_run: str = "fail"


@dataclass(frozen=True)
class ScoreRule:
    """Bounds of a score. `split`: of these rows; without, of test where there is one, else of validation. `beats`: it must be
    better than the same score of every baseline."""

    name: str
    low: float | None = None
    high: float | None = None
    split: str = ""
    beats: bool = False


@dataclass(frozen=True)
class Policy:
    """`every`: the rule of each check that has none of its own. `risks`: rules by name; these verdicts must be there."""

    every: RiskRule = RiskRule()
    risks: Mapping[str, RiskRule] = field(default_factory=dict)
    scores: Sequence[ScoreRule] = ()


@dataclass(frozen=True)
class Outcome:
    """What came of one rule: `kind` is run, risk or score."""

    kind: str
    name: str
    passed: bool
    why: str


def read_policy(path: Path, known: Iterable[str]) -> Policy:
    """The policy of a TOML file, or `UserError` with everything that is wrong in it. `known`: names of checks."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--policy {path}: cannot be read ({error.strerror})", "name a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"--policy {path}: is no TOML: {error}") from error
    problems: list[Problem] = []
    for name in content:
        if name not in FIELDS:
            problems.append(Problem(f"{path}: no policy has '{name}'", nearest(name, FIELDS) or f"it has: {', '.join(FIELDS)}"))
    every = _risk_rule(content, RiskRule(), str(path), problems)
    checks = list(known)
    risks: dict[str, RiskRule] = {}
    for name, value in _table(content, "risks", path, problems).items():
        where = f"{path}: risks.{name}"
        if name not in checks:
            problems.append(Problem(f"{path}: no check is called '{name}'",
                                    nearest(name, checks) or f"there are: {', '.join(checks)}"))
        fields = {"at": value} if isinstance(value, str) else value
        risks[name] = _risk_rule(fields, every, where, problems)
        for unknown in _unknown_fields(fields, ("at", "not_run")):
            problems.append(Problem(f"{where}: no rule has '{unknown}'",
                                    nearest(unknown, ("at", "not_run")) or "a rule has: at, not_run"))
    scores = []
    for name, value in _table(content, "scores", path, problems).items():
        scores.append(_score_rule(name, value, f"{path}: scores.{name}", problems))
    if problems:
        raise UserError(problems)
    return Policy(every, risks, scores)


def _table(content: Mapping[str, object], name: str, path: Path, problems: list[Problem]) -> Mapping[str, object]:
    value = content.get(name, {})
    if not isinstance(value, Mapping):
        problems.append(Problem(f"{path}: '{name}' is no table", f"write it as: [{name}]"))
        return {}
    return value


def _unknown_fields(fields: object, known: Sequence[str]) -> list[str]:
    return [name for name in fields if name not in known] if isinstance(fields, Mapping) else []


def _risk_rule(fields: object, otherwise: RiskRule, where: str, problems: list[Problem]) -> RiskRule:
    """The rule of a table. `otherwise`: what holds where the table does not say."""
    if not isinstance(fields, Mapping):
        problems.append(Problem(f"{where}: is {fields!r}", f"one of {', '.join(AT)}, or a table of at and not_run"))
        return otherwise
    for name, allowed in (("at", AT), ("not_run", NOT_RUN)):
        value = fields.get(name, allowed[0])
        if value not in allowed:
            problems.append(Problem(f"{where}: {name} is {value!r}",
                                    nearest(str(value), allowed) or f"one of {', '.join(allowed)}"))
    return RiskRule(fields.get("at", otherwise.at), fields.get("not_run", otherwise.not_run))


def _score_rule(name: str, fields: object, where: str, problems: list[Problem]) -> ScoreRule:
    example = f"write it as: {name} = {{min = 0.8, split = \"test\"}}"
    if not isinstance(fields, Mapping):
        problems.append(Problem(f"{where}: is {fields!r}", example))
        return ScoreRule(name)
    for field_name, value in fields.items():
        if field_name not in SCORE_FIELDS:
            problems.append(Problem(f"{where}: no rule has '{field_name}'", nearest(field_name, SCORE_FIELDS) or example))
        elif not SCORE_FIELDS[field_name](value):
            problems.append(Problem(f"{where}: {field_name} is {value!r}", example))
    if fields.keys().isdisjoint(("min", "max", "beats_baselines")):
        problems.append(Problem(f"{where}: asks for nothing", example))
    low, high = fields.get("min"), fields.get("max")
    if _is_number(low) and _is_number(high) and low > high:
        problems.append(Problem(f"{where}: min {low:g} is above max {high:g}: no score can pass"))
    return ScoreRule(name, low, high, fields.get("split", ""), bool(fields.get("beats_baselines", False)))


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


SCORE_FIELDS: Mapping[str, Callable[[object], bool]] = {
    "min": _is_number, "max": _is_number, "split": _is_text, "beats_baselines": _is_flag,
}
"""What the rule of a score has, and whether a value will do."""


def known_checks(run: Path) -> list[str]:
    """Names of verdicts that a policy may ask for: those that the run has, and checks that are installed or were part of it."""
    from ftp.plugins.declare import kind_of
    from ftp.plugins.find import installed

    folder = Folder(run)
    # a check may give verdicts under names of their own, which only its run knows
    names = [risk.name for risk in folder.read_risks()]
    names += _checks_of_run(folder)
    names += [name for name, plugin in installed() if kind_of(plugin) == "risk"]
    return list(dict.fromkeys(names))


def _checks_of_run(folder: Folder) -> list[str]:
    """Names of the plugins of a run that are checks."""
    return [plugin["name"] for plugin in folder.read_lock()["plugins"] if plugin.get("kind") == "risk"]


def judge(run: Path, policy: Policy) -> list[Outcome]:
    """The outcome of each rule: that the run is finished, each verdict, each score. Raises `UserError` where there is no run."""
    if not run.is_dir() or not state.holds_run(run):
        raise UserError(f"{run}: there is no run there", "name the folder of a run", "ftp runs")
    summary = listing.read(run)
    if summary.broken:
        raise UserError(summary.broken)
    # an unfinished run may have good scores of its first updates
    is_finished = summary.status == "finished"
    reason = f"the run is {summary.status}: {summary.facts.get('reason', 'no reason is recorded')}"
    outcomes = [Outcome("run", "finished", is_finished, "the run is finished" if is_finished else reason)]
    if not summary.risks:
        outcomes.append(Outcome("run", "verdicts", False, "the run has no verdict: nothing was compared"))
    outcomes += _judge_verdicts(run, summary, policy)
    outcomes += [_judge_score(summary, rule) for rule in policy.scores]
    return outcomes


def _judge_verdicts(run: Path, summary: listing.Summary, policy: Policy) -> Iterator[Outcome]:
    """The outcome of each verdict, and of each check that gave none."""
    verdicts = {risk.name: risk for risk in summary.risks}
    # a check gives one verdict of its own name, unless the run says which ones
    verdicts_of_check = {name: [name] for name in _checks_of_run(Folder(run))} | summary.facts.get("checks", {})
    silent = [name for names in verdicts_of_check.values() for name in names if name not in verdicts]
    checks = known_checks(run)
    left_out = [name[1:] for name in summary.plugins if name.startswith("-") and name[1:] in checks]
    for name in dict.fromkeys([*verdicts, *silent, *left_out, *policy.risks]):
        rule = policy.risks.get(name, policy.every)
        if name in verdicts:
            yield _judge_verdict(verdicts[name], rule)
        elif name in left_out:
            yield Outcome("risk", name, rule.not_run == "pass", f"left out of the run (-{name})")
        elif name in silent:
            yield Outcome("risk", name, rule.not_run == "pass", "not run: it was part of the run and gave no verdict")
        else:
            yield Outcome("risk", name, False, "the policy names it, and the run has no such verdict")


def _judge_verdict(verdict: Risk, rule: RiskRule) -> Outcome:
    if verdict.level == "not_run":
        passed = rule.not_run == "pass"
    else:
        passed = rule.at == "never" or RANKS.get(verdict.level, RANKS["stop"]) < RANKS[rule.at]
    return Outcome("risk", verdict.name, passed, f"{verdict.level.replace('_', ' ')}: {verdict.finding}")


def _judge_score(summary: listing.Summary, rule: ScoreRule) -> Outcome:
    name = f"{rule.name} ({rule.split})" if rule.split else rule.name
    # held-out: of test where there is one, else of validation
    score = summary.held_out.get(rule.name)
    if rule.split:
        score = next((score for score in summary.scores if (score.name, score.split) == (rule.name, rule.split)), None)
    if score is None:
        names = [score.name for score in summary.scores]
        hint = f" {nearest(rule.name, names)}" if rule.name not in names else ""
        there = ", ".join(sorted({f"{score.name} ({score.split})" for score in summary.scores})) or "none"
        return Outcome("score", name, False, f"the run has no such score.{hint} There are: {there}")
    value = f"{score.value:.6g} on {score.split} ({score.n:,} rows)"
    if not math.isfinite(score.value):
        return Outcome("score", name, False, f"{value}: no number")
    faults = []
    if rule.low is not None and score.value < rule.low:
        faults.append(f"below {rule.low:g}")
    if rule.high is not None and score.value > rule.high:
        faults.append(f"above {rule.high:g}")
    if rule.beats:
        # a gate that compares with nothing passes nothing
        baselines = [line for line in summary.baselines if (line.name, line.split) == (score.name, score.split)]
        if not baselines:
            faults.append("and no baseline to compare with (--no-baselines?)")
        for baseline in baselines:
            if not score.beats(baseline.value):
                faults.append(f"not better than {baseline.baseline} ({baseline.value:.6g})")
    return Outcome("score", name, not faults, ", ".join([value, *faults]))


# --- for machines ---


def as_json(run: Path, outcomes: Sequence[Outcome]) -> dict[str, object]:
    """{run, passed, outcomes: [{kind, name, passed, why}]}."""
    return {"run": str(run), "passed": all(outcome.passed for outcome in outcomes), "outcomes": writing.plain(list(outcomes))}


def as_junit(run: Path, outcomes: Sequence[Outcome]) -> str:
    """JUnit's XML: one suite, a case for each rule, so that any CI shows them as tests."""
    from xml.etree import ElementTree

    failed = str(sum(not outcome.passed for outcome in outcomes))
    counts = {"tests": str(len(outcomes)), "failures": failed, "errors": "0"}
    suites = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(suites, "testsuite", {"name": _xml(f"ftp gate {run}"), **counts})
    for outcome in outcomes:
        attributes = {"classname": f"ftp.{outcome.kind}", "name": _xml(outcome.name), "time": "0"}
        case = ElementTree.SubElement(suite, "testcase", attributes)
        why = _xml(outcome.why)
        if outcome.passed:
            ElementTree.SubElement(case, "system-out").text = why
        else:
            ElementTree.SubElement(case, "failure", {"message": why, "type": outcome.kind}).text = why
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def _xml(text: str) -> str:
    """Text without the letters that XML 1.0 cannot hold."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)
