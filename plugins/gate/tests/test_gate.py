"""`ftp gate`: which runs pass, and that whatever is missing, unknown or not compared fails."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ftp.cli.main import call
from ftp.errors import UserError
from ftp.folder import marker
from ftp.folder.files import Folder
from ftp.types import Baseline, Risk, Score
from ftp_gate import gate

LEVELS = {"leakage": "ok", "overfitting": "note", "underfitting": "warn"}


def make(path: Path, levels: dict[str, str] = LEVELS, *, status: str = "finished", plugins: str = "") -> Path:
    """A run folder with these verdicts, and accuracy on test above that of the majority class (0.5)."""
    path.mkdir()
    marker.create(path)
    folder = Folder(path)
    folder.write_recipe(f'plugins = ["lora", "sentiment"{plugins}]\n')
    folder.write_facts(status=status, reason="of itself")
    folder.write_risks([Risk(name, level, f"found by {name}\x00", {}, ()) for name, level in levels.items()])  # type: ignore[arg-type]
    folder.write_scores(
        [Score("accuracy", 0.8, "max", "test", 50), Score("accuracy", 0.9, "max", "validation", 20),
         Score("loss", 0.7, "min", "test", 50), Score("odd", float("nan"), "max", "test", 50)],
        [Baseline("majority", "accuracy", 0.5, "test", 50), Baseline("majority", "loss", 0.69, "test", 50)])
    return path


def failed(run: Path, policy: gate.Policy | None = None) -> list[str]:
    """Names of the rules that failed."""
    outcomes = gate.judge(run, policy or gate.Policy())
    return [outcome.name for outcome in outcomes if not outcome.passed]


def policy(folder: Path, text: str, known: tuple[str, ...] = tuple(LEVELS)) -> gate.Policy:
    file = folder / "policy.toml"
    file.write_text(text)
    return gate.read_policy(file, known)


def test_without_a_policy_stop_and_not_run_fail(tmp_path: Path) -> None:
    assert failed(make(tmp_path / "fine")) == []
    assert failed(make(tmp_path / "bad", {**LEVELS, "leakage": "stop", "overfitting": "not_run"})) == ["leakage", "overfitting"]


@pytest.mark.parametrize(("text", "expected"), [
    ('at = "warn"', ["underfitting"]),
    ('at = "note"', ["overfitting", "underfitting"]),
    ('at = "never"', []),
    ('at = "note"\n[risks]\nunderfitting = "stop"', ["overfitting"]),
    ('[risks]\noverfitting = "note"', ["overfitting"]),
    ('[risks]\noverfitting = {at = "note"}', ["overfitting"]),
])
def test_levels(text: str, expected: list[str], tmp_path: Path) -> None:
    assert failed(make(tmp_path / "run"), policy(tmp_path, text)) == expected


def test_what_was_not_compared_passes_only_where_the_policy_says_so(tmp_path: Path) -> None:
    run = make(tmp_path / "run", {"leakage": "not_run", "overfitting": "not_run"})
    assert failed(run, policy(tmp_path, 'at = "never"')) == ["leakage", "overfitting"]
    assert failed(run, policy(tmp_path, '[risks]\nleakage = {not_run = "pass"}')) == ["overfitting"]
    assert failed(run, policy(tmp_path, 'not_run = "pass"')) == []
    assert failed(run, policy(tmp_path, 'not_run = "pass"\n[risks]\nleakage = {not_run = "fail"}')) == ["leakage"]


def test_missing_verdicts_fail(tmp_path: Path) -> None:
    run = make(tmp_path / "run", {"leakage": "ok"})
    assert failed(run, policy(tmp_path, '[risks]\noverfitting = "never"')) == ["overfitting"]
    assert failed(make(tmp_path / "none", {})) == ["verdicts"]
    assert failed(make(tmp_path / "half", status="stopped")) == ["finished"]


def test_a_check_that_was_left_out_is_not_run(tmp_path: Path) -> None:
    run = make(tmp_path / "run", {"overfitting": "ok"}, plugins=', "-leakage"')
    assert failed(run) == ["leakage"]
    assert failed(run, policy(tmp_path, '[risks]\nleakage = {not_run = "pass"}')) == []


def test_a_check_of_the_run_without_a_verdict_is_not_run(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    Folder(run).write_lock([{"name": name, "kind": "risk"} for name in (*LEVELS, "forgetting")] + [
        {"name": "sentiment", "kind": "domain"}])
    assert failed(run) == ["forgetting"]
    assert failed(run, policy(tmp_path, '[risks]\nforgetting = {at = "never"}', known=("forgetting",))) == ["forgetting"]
    assert failed(run, policy(tmp_path, '[risks]\nforgetting = {not_run = "pass"}', known=("forgetting",))) == []
    Folder(run).write_facts(checks={"forgetting": ["leakage"], "sentiment": ["identifiers"]})
    assert failed(run) == ["identifiers"], "a check may give its verdicts other names"


def test_a_level_that_nobody_knows_fails(tmp_path: Path) -> None:
    assert failed(make(tmp_path / "run", {"leakage": "splendid"})) == ["leakage"]


@pytest.mark.parametrize(("rule", "passes"), [
    ("accuracy = {min = 0.8}", True),
    ("accuracy = {min = 0.81}", False),
    ("accuracy = {min = 0.81, split = \"validation\"}", True),
    ("accuracy = {max = 0.7}", False),
    ("accuracy = {beats_baselines = true}", True),
    ("loss = {max = 0.7}", True),
    ("loss = {max = 0.7, beats_baselines = true}", False),  # 0.7 is no better than 0.69
    ("accuracy = {min = 0.1, split = \"general\"}", False),
    ("acuracy = {min = 0.1}", False),
    ("odd = {min = 0.1}", False),
    ("odd = {max = 0.1}", False),
    ("accuracy = {beats_baselines = true, split = \"validation\"}", False),  # nothing to compare with
])
def test_scores(rule: str, passes: bool, tmp_path: Path) -> None:
    failed_rules = failed(make(tmp_path / "run"), policy(tmp_path, f"[scores]\n{rule}"))
    assert (failed_rules == []) is passes


def test_a_missing_score_names_the_nearest(tmp_path: Path) -> None:
    outcomes = gate.judge(make(tmp_path / "run"), policy(tmp_path, "[scores]\nacuracy = {min = 0.1}"))
    assert "did you mean 'accuracy'" in outcomes[-1].why


def test_all_mistakes_of_a_policy_are_told_at_once(tmp_path: Path) -> None:
    text = '''ad = "warn"
not_run = "past"
[risks]
leekage = "stop"
overfitting = "warm"
underfitting = {level = "stop"}
[scores]
accuracy = 0.8
loss = {mux = 1}
mcc = {min = "0.8"}
f1 = {min = nan}
macro_f1 = {split = "test"}
recall = {min = 0.9, max = 0.1}
'''
    with pytest.raises(UserError) as caught:
        policy(tmp_path, text)
    message = str(caught.value)
    for part in ("'ad'", "'past'", "did you mean 'leakage'", "did you mean 'warn'", "'level'", "accuracy: is 0.8",
                 "did you mean 'max'", "mcc: min is '0.8'", "f1: min is nan", "macro_f1: asks for nothing",
                 "recall: min 0.9 is above max 0.1"):
        assert part in message
    with pytest.raises(UserError, match="is no TOML"):
        policy(tmp_path, "at = ")
    with pytest.raises(UserError, match="'risks' is no table"):
        policy(tmp_path, "risks = 3")


def test_names_of_installed_checks_are_known(tmp_path: Path) -> None:
    run = make(tmp_path / "run", {"in-house": "ok"})
    assert {"in-house", "gap", "duplicates"} <= set(gate.known_checks(run))


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "run")
    Path("policy.toml").write_text('at = "warn"\n[scores]\naccuracy = {min = 0.5}\n')
    assert call(["gate", "run"]) == 0
    assert "4 rules, 0 failed" in capsys.readouterr().out
    assert call(["gate", "run", "--policy", "policy.toml", "--json", "--junit", "junit.xml"]) == 1
    judgement = json.loads(capsys.readouterr().out)
    assert judgement["passed"] is False
    assert [outcome["name"] for outcome in judgement["outcomes"] if not outcome["passed"]] == ["underfitting"]
    suite = ElementTree.parse("junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("5", "1")
    assert [case.get("name") for case in suite if case.find("failure") is not None] == ["underfitting"]
    capsys.readouterr()
    assert call(["gate", "run", "--junit", "nowhere/junit.xml"]) == 2
    assert "--junit nowhere/junit.xml: there is no folder nowhere" in capsys.readouterr().err
    before = Path("run/run.json").read_bytes()
    assert call(["gate", "run", "--junit", "run/run.json"]) == 2
    assert "--junit run/run.json: this is a file of the run" in capsys.readouterr().err
    assert Path("run/run.json").read_bytes() == before
    assert call(["gate", "run", "--policy", "none.toml"]) == 2
    assert call(["gate", "nowhere"]) == 2
    Path("policy.toml").write_text('[risks]\nunderfiting = "warn"\n')
    assert call(["gate", "run", "--policy", "policy.toml"]) == 2
    assert "did you mean 'underfitting'" in capsys.readouterr().err
