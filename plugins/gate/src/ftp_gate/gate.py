"""What of a run lets continuous integration pass, and what makes it fail: a policy, and the outcome of each of its rules.

Fails closed: a run that is not finished, a verdict or score that is missing, a check that compared nothing, and a number that is
not finite fail, unless the policy says otherwise in so many words. This module imports nothing heavy.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftp import Problem, UserError, nearest
from ftp.folder import listing, state, writing
from ftp.folder.files import Folder

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
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--policy {path}: cannot be read ({error.strerror})", "name a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"--policy {path}: is no TOML: {error}") from error
    problems: list[Problem] = []
    for name in found:
        if name not in FIELDS:
            problems.append(Problem(f"{path}: no policy has '{name}'", nearest(name, FIELDS) or f"it has: {', '.join(FIELDS)}"))
    every = _rule(found, RiskRule(), str(path), problems)
    names, rules = list(known), dict[str, RiskRule]()
    for name, value in _table(found, "risks", path, problems).items():
        if name not in names:
            problems.append(Problem(f"{path}: no check is called '{name}'",
                                    nearest(name, names) or f"there are: {', '.join(names)}"))
        rules[name] = _rule({"at": value} if isinstance(value, str) else value, every, f"{path}: risks.{name}", problems,
                            closed=True)
    scores = [_score(name, value, f"{path}: scores.{name}", problems)
              for name, value in _table(found, "scores", path, problems).items()]
    if problems:
        raise UserError(problems)
    return Policy(every, rules, scores)


def _table(found: Mapping[str, Any], name: str, path: Path, problems: list[Problem]) -> Mapping[str, Any]:
    value = found.get(name, {})
    if not isinstance(value, Mapping):
        problems.append(Problem(f"{path}: '{name}' is no table", f"write it as: [{name}]"))
        return {}
    return value


def _rule(value: Any, otherwise: RiskRule, where: str, problems: list[Problem], closed: bool = False) -> RiskRule:
    if not isinstance(value, Mapping):
        problems.append(Problem(f"{where}: is {value!r}", f"one of {', '.join(AT)}, or a table of at and not_run"))
        return otherwise
    given = {"at": otherwise.at, "not_run": otherwise.not_run}
    for name, allowed in (("at", AT), ("not_run", NOT_RUN)):
        if name in value:
            given[name] = value[name]
            if value[name] not in allowed:
                problems.append(Problem(f"{where}: {name} is {value[name]!r}",
                                        nearest(str(value[name]), allowed) or f"one of {', '.join(allowed)}"))
    for name in value if closed else ():
        if name not in given:
            problems.append(Problem(f"{where}: no rule has '{name}'", nearest(name, given) or "a rule has: at, not_run"))
    return RiskRule(**given)


def _score(name: str, value: Any, where: str, problems: list[Problem]) -> ScoreRule:
    example = f"write it as: {name} = {{min = 0.8, split = \"test\"}}"
    if not isinstance(value, Mapping):
        problems.append(Problem(f"{where}: is {value!r}", example))
        return ScoreRule(name)
    kinds: dict[str, tuple[type, ...]] = {"min": (int, float), "max": (int, float), "split": (str,), "beats_baselines": (bool,)}
    for field_name, given in value.items():
        if field_name not in kinds:
            problems.append(Problem(f"{where}: no rule has '{field_name}'", nearest(field_name, kinds) or example))
        elif not isinstance(given, kinds[field_name]) or (isinstance(given, bool) and field_name != "beats_baselines") or (
                isinstance(given, float) and not math.isfinite(given)):
            problems.append(Problem(f"{where}: {field_name} is {given!r}", example))
    if not any(key in value for key in ("min", "max", "beats_baselines")):
        problems.append(Problem(f"{where}: asks for nothing", example))
    low, high = value.get("min"), value.get("max")
    if isinstance(low, (int, float)) and isinstance(high, (int, float)) and low > high:
        problems.append(Problem(f"{where}: min {low:g} is above max {high:g}: no score can pass"))
    return ScoreRule(name, value.get("min"), value.get("max"), value.get("split", ""), bool(value.get("beats_baselines", False)))


def known_checks(run: Path) -> list[str]:
    """Names of verdicts that a policy may ask for: those that the run has, and checks that are installed or were part of it."""
    from ftp.plugins.declare import kind_of
    from ftp.plugins.find import installed

    folder = Folder(run)
    here = [one.name for one in folder.read_risks()]
    then = [one["name"] for one in folder.read_lock()["plugins"] if one.get("kind") == "risk"]
    return list(dict.fromkeys([*here, *then, *(name for name, cls in installed() if kind_of(cls) == "risk")]))


def judge(run: Path, policy: Policy) -> list[Outcome]:
    """The outcome of each rule: that the run is finished, each verdict, each score. Raises `UserError` where there is no run."""
    if not run.is_dir() or not state.holds_run(run):
        raise UserError(f"{run}: there is no run there", "name the folder of a run", "ftp runs")
    found = listing.read(run)
    if found.broken:
        raise UserError(found.broken)
    finished = found.status == "finished"
    outcomes = [Outcome("run", "finished", finished, "the run is finished" if finished else
                        f"the run is {found.status}: {found.facts.get('reason', 'no reason is recorded')}")]
    verdicts = {one.name: one for one in found.risks}
    if not verdicts:
        outcomes.append(Outcome("run", "verdicts", False, "the run has no verdict: nothing was compared"))
    expected = {one["name"]: [one["name"]] for one in Folder(run).read_lock()["plugins"] if one.get("kind") == "risk"}
    silent = [name for names in {**expected, **found.facts.get("checks", {})}.values() for name in names if name not in verdicts]
    left_out = [name[1:] for name in found.plugins if name.startswith("-") and name[1:] in known_checks(run)]
    for name in dict.fromkeys([*verdicts, *silent, *left_out, *policy.risks]):
        rule = policy.risks.get(name, policy.every)
        if name not in verdicts:
            passed = name in (*silent, *left_out) and rule.not_run == "pass"
            why = (f"left out of the run (-{name})" if name in left_out else "not run: it was part of the run and gave no verdict"
                   if name in silent else "the policy names it, and the run has no such verdict")
            outcomes.append(Outcome("risk", name, passed, why))
            continue
        one = verdicts[name]
        if one.level == "not_run":
            passed = rule.not_run == "pass"
        else:
            passed = rule.at == "never" or RANKS.get(one.level, RANKS["stop"]) < RANKS[rule.at]
        outcomes.append(Outcome("risk", name, passed, f"{one.level.replace('_', ' ')}: {one.finding}"))
    outcomes += [_judge_score(found, rule) for rule in policy.scores]
    return outcomes


def _judge_score(found: listing.Summary, rule: ScoreRule) -> Outcome:
    name = f"{rule.name} ({rule.split})" if rule.split else rule.name
    if rule.split:
        score = next((one for one in found.scores if (one.name, one.split) == (rule.name, rule.split)), None)
    else:
        score = found.held_out.get(rule.name)
    if score is None:
        names = [one.name for one in found.scores]
        hint = f" {nearest(rule.name, names)}" if rule.name not in names else ""
        there = ", ".join(sorted({f"{one.name} ({one.split})" for one in found.scores})) or "none"
        return Outcome("score", name, False, f"the run has no such score.{hint} There are: {there}")
    told = f"{score.value:.6g} on {score.split} ({score.n:,} rows)"
    if not math.isfinite(score.value):
        return Outcome("score", name, False, f"{told}: no number")
    wrong = []
    if rule.low is not None and score.value < rule.low:
        wrong.append(f"below {rule.low:g}")
    if rule.high is not None and score.value > rule.high:
        wrong.append(f"above {rule.high:g}")
    if rule.beats:
        others = [one for one in found.baselines if (one.name, one.split) == (score.name, score.split)]
        if not others:
            wrong.append("and no baseline to compare with (--no-baselines?)")
        wrong += [f"not better than {one.baseline} ({one.value:.6g})" for one in others
                  if not score.beats(one.value)]
    return Outcome("score", name, not wrong, ", ".join([told, *wrong]))


# --- for machines ---


def as_json(run: Path, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """{run, passed, outcomes: [{kind, name, passed, why}]}."""
    return {"run": str(run), "passed": all(one.passed for one in outcomes), "outcomes": writing.plain(list(outcomes))}


def as_junit(run: Path, outcomes: Sequence[Outcome]) -> str:
    """JUnit's XML: one suite, a case for each rule, so that any CI shows them as tests."""
    from xml.etree import ElementTree

    failed = str(sum(not one.passed for one in outcomes))
    counts = {"tests": str(len(outcomes)), "failures": failed, "errors": "0"}
    suites = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(suites, "testsuite", {"name": _xml(f"ftp gate {run}"), **counts})
    for one in outcomes:
        case = ElementTree.SubElement(suite, "testcase", {"classname": f"ftp.{one.kind}", "name": _xml(one.name), "time": "0"})
        if one.passed:
            ElementTree.SubElement(case, "system-out").text = _xml(one.why)
        else:
            ElementTree.SubElement(case, "failure", {"message": _xml(one.why), "type": one.kind}).text = _xml(one.why)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def _xml(text: str) -> str:
    """Text without the letters that XML 1.0 cannot hold."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)
