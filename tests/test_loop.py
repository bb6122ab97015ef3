"""What the loop promises: the update does not depend on how it was cut, memory that runs out costs no rows, the best
weights are the ones that are kept, and whatever stops a run is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import ftp
from ftp.data.updates import count_updates
from ftp.folder.checkpoints import checkpoint_path
from ftp.folder.log import read_log
from ftp.settings import Settings
from ftp.train.schedule import schedule
from ftp.train.seeds import seed_step
from ftp_testing.models import tiny

WORDS = ("good", "bad", "film", "food", "never", "again", "the", "a", "was", "not", "very", "slow", "warm", "room", "staff")


FIVE = ("preflight", "leakage", "overfitting", "underfitting", "forgetting")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """45 training rows (5 whole updates of 8 and one of 5) and 16 held-out ones."""
    import random

    draw = random.Random(1)
    folder = tmp_path_factory.mktemp("rows")
    for split, count in (("train", 45), ("validation", 16), ("test", 16)):
        lines = []
        for number in range(count):
            words = [draw.choice(WORDS) for _ in range(draw.randint(2, 14))]
            text = " ".join(words) + f" {split} {number}"  # no text of a split is in another
            lines.append(json.dumps({"text": text, "label": int("good" in words)}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny("bert", tmp_path_factory.mktemp("bert"))
    config = json.loads((folder / "config.json").read_text())
    config.update(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def go(rows: Path, model: Path, tmp_path: Path) -> Callable[..., Any]:
    """A short run on a tiny network, whose best evaluation is that of the lowest loss; options as for `ftp.run`.

    `follows`: what picks the best follows from the data.
    """
    count = iter(range(100))

    def run(plugins: Sequence[str] = ("full", "sentiment"), follows: bool = False, **options: Any) -> Any:
        usual: dict[str, Any] = dict(
            data=str(rows), model=str(model), out=tmp_path / f"run{next(count)}", precision="fp32", batch_size=8, epochs=1.0,
            learning_rate=1e-3, logging_steps=1, eval_steps=1000, early_stopping_patience=0, baselines=False,
            verify=False, report=False, cache_dir=tmp_path / "cache")
        if not follows:
            usual |= {"load_best_model_at_end": True, "metric_for_best_model": "loss"}
        return ftp.run(list(plugins), **{**usual, **options})

    return run


def lines(result: Any, event: str) -> list[dict[str, Any]]:
    return [line for line in read_log(result.out / "log.jsonl") if line["event"] == event]


def losses(result: Any) -> list[float]:
    return [line["loss"] for line in lines(result, "step")]


def plugin_file(folder: Path, text: str) -> str:
    path = folder / "inhouse.py"
    path.write_text("import ftp\nfrom ftp.types import *\n" + text)
    return f"{path}:Mine"


def test_micro_batches_give_the_same_updates(go: Any) -> None:
    whole = go()
    assert len(losses(whole)) == 6
    for cut in ({"micro_batch_size": 2}, {"micro_batch_size": 3}, {"micro_batch_tokens": 40}, {"pack": "off"}):
        assert losses(go(**cut)) == pytest.approx(losses(whole), rel=1e-5), cut


def test_the_same_seed_is_the_same_run_and_another_is_not(go: Any) -> None:
    first, again, other = go(seed=1), go(seed=1), go(seed=2)
    assert losses(first) == losses(again) != losses(other)
    weights = [(result.out / "model" / "model.safetensors").read_bytes() for result in (first, again, other)]
    assert weights[0] == weights[1] != weights[2]


def test_a_recipe_repeats_its_run_bit_for_bit(go: Any, tmp_path: Path) -> None:
    from ftp.options import read_recipe
    from ftp.plugins.plan import prepare
    from ftp.runs.run import execute

    first = go(["lora", "sentiment"], lora={"r": 2})
    recipe = read_recipe(first.out / "run.toml")
    again = execute(prepare(recipe.pop("plugins"), given=[("recipe", {**recipe, "out": str(tmp_path / "again")})]))
    name = "model/adapter_model.safetensors"
    assert (first.out / name).read_bytes() == (again.out / name).read_bytes()
    assert losses(first) == losses(again)


def test_memory_that_runs_out_splits_the_batch_and_keeps_the_update(go: Any, tmp_path: Path) -> None:
    where = plugin_file(tmp_path, '''
@ftp.plugin
class Mine:
    """Has room for three rows at once."""
    @ftp.hookimpl(wrapper=True)
    def train_step(self, batches):
        import torch
        if max(batch.rows for batch in batches) > 3:
            raise torch.OutOfMemoryError("no room")
        return (yield)
''')
    plain, tight = go(), go(plugins_from=(where,))
    assert losses(tight) == pytest.approx(losses(plain), rel=1e-5)
    messages = [line["message"] for line in lines(tight, "told") if "memory" in line["message"]]
    assert len(messages) == 2 and "4 at once" in messages[0] and "2 at once" in messages[1]


def test_one_row_that_does_not_fit_is_a_clear_error(go: Any, tmp_path: Path) -> None:
    where = plugin_file(tmp_path, '''
@ftp.plugin
class Mine:
    """Has no room at all."""
    @ftp.hookimpl(wrapper=True)
    def train_step(self, batches):
        import torch
        raise torch.OutOfMemoryError("no room")
        yield
''')
    with pytest.raises(ftp.UserError, match="one row alone does not fit"):
        go(plugins_from=(where,))


def test_the_best_weights_are_kept_though_training_went_on(go: Any) -> None:
    result = go(epochs=12.0, learning_rate=2e-2, eval_steps=6, save_total_limit=1)
    looks = lines(result, "evaluation")
    best = min(looks, key=lambda look: look["validation_loss"])
    assert best["step"] < looks[-1]["step"], "the run must have become worse for this test to say anything"
    assert result.score("loss", "validation") == pytest.approx(best["validation_loss"], rel=1e-6)
    assert checkpoint_path(result.out / "checkpoints", best["step"]).is_dir()


@pytest.mark.parametrize("lost", ["all", "best"])
def test_a_best_checkpoint_that_is_lost_costs_no_run(go: Any, tmp_path: Path, lost: str) -> None:
    where = plugin_file(tmp_path, f'''
@ftp.plugin
class Mine:
    """Damages checkpoints at the last evaluation."""
    @ftp.hookimpl
    def on_event(self, run, event):
        from ftp.folder.checkpoints import step_of

        if isinstance(event, ftp.types.Evaluated) and event.step == 72:
            looks = {{l["step"]: l["validation_loss"] for l in run.log.lines if l["event"] == "evaluation"}}
            for path in (run.out / "checkpoints").iterdir():
                if "{lost}" == "all" or step_of(path) == min(looks, key=looks.get):
                    (path / "manifest.json").unlink()
''')
    result = go(epochs=12.0, learning_rate=2e-2, eval_steps=6, save_total_limit=20, plugins_from=(where,))
    looks = {look["step"]: look["validation_loss"] for look in lines(result, "evaluation")}
    first, second = sorted(looks, key=looks.__getitem__)[:2]
    assert first != 72, "the run must have become worse for this test to say anything"
    used = 72 if lost == "all" else second
    assert result.score("loss", "validation") == pytest.approx(looks[used], rel=1e-6)
    (message,) = [line["message"] for line in lines(result, "told") if "gone or damaged" in line["message"]]
    assert f"after update {first}, is gone" in message and f"after update {used} are the best" in message
    assert json.loads((result.out / "run.json").read_text())["best_step"] == used


def test_nothing_waits_for_the_device_between_lines_of_the_log() -> None:
    """A tensor without values stands for one that is not computed yet: to ask for its number fails here, and would wait there."""
    from types import SimpleNamespace

    import torch

    from ftp.train import loop

    pending = torch.empty((), device="meta")
    out = SimpleNamespace(loss=pending, grad_norm=pending, metrics={"good": pending}, rows=2, tokens=9, count=2)
    window = loop.Window({})
    window.add(out, [0, 1], now=False, scaled=False)
    window.add(out, [2, 3], now=False, scaled=False)
    assert (window.rows, window.tokens, window.terms) == (4, 18, 4)
    with pytest.raises(RuntimeError, match="meta"):
        window.add(out, [4, 5], now=True, scaled=False)


def test_adamw_is_the_fused_one_and_decays_matrices_only() -> None:
    import torch

    from ftp.settings import Settings
    from ftp.train.optimizer import adamw

    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    model: Any = SimpleNamespace(net=net)
    loss: Any = SimpleNamespace(extra=None)
    optimizer = adamw(model, loss, Settings(weight_decay=0.1))
    assert all(group["fused"] for group in optimizer.param_groups)
    decays = {id(weight): group["weight_decay"] for group in optimizer.param_groups for weight in group["params"]}
    assert {name: decays[id(weight)] for name, weight in net.named_parameters()} == {
        "0.weight": 0.1, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0}


def test_another_score_may_pick_the_best(go: Any, tmp_path: Path) -> None:
    result = go(epochs=6.0, learning_rate=2e-2, eval_steps=6, metric_for_best_model="accuracy")
    assert result.score("accuracy", "validation") == max(look["accuracy"] for look in lines(result, "evaluation"))
    with pytest.raises(ftp.UserError, match=r"metric-for-best-model acuracy.*\n.*did you mean 'accuracy'"):
        go(metric_for_best_model="acuracy", max_steps=1, baselines=True, out=str(tmp_path / "misspelt"))
    with pytest.raises(ftp.UserError, match=r"metric-for-best-model bleu.*\n.*there are: .*accuracy"):
        go(metric_for_best_model="bleu", max_steps=1, baselines=False, out=str(tmp_path / "unlike"))
    for name in ("misspelt", "unlike"):  # told before training and before the baselines
        log = read_log(tmp_path / name / "log.jsonl")
        doing = [line["doing"] for line in log if line["event"] == "stage"]
        assert doing[-1] == "encoding rows" and not any(line["event"] == "step" for line in log)


def test_a_metric_is_a_mean_over_rows_or_terms_and_has_the_goal_that_the_objective_says(go: Any, tmp_path: Path) -> None:
    where = plugin_file(tmp_path, '''
@ftp.plugin
class Mine:
    """Measures the number of words of a row: with a goal and without, as a share of all words."""
    @ftp.hookimpl(wrapper=True)
    def make_loss(self):
        import dataclasses, torch
        from ftp.losses import wrapped
        loss = yield
        def compute(batch):
            out = loss.compute(batch)
            words = torch.tensor(6.0 * batch.rows)
            return dataclasses.replace(out, metrics={"good": words, "known": words, "shared": words},
                                       row_counts=torch.full((batch.rows,), 3.0))
        def collate(rows):
            return dataclasses.replace(loss.collate(rows), count=3 * len(rows))
        return wrapped(loss, compute=compute, collate=collate,
                       metrics={"good": Metric("max"), "shared": Metric("min", over="terms")})
''')
    result = go(plugins_from=(where,), max_steps=6)
    scores = {score.name: (score.value, score.goal) for score in result.scores if score.split == "test"}
    assert scores["good"] == (6.0, "max") and scores["known"] == (6.0, "none") and scores["shared"] == (2.0, "min")
    for line in lines(result, "step"):
        assert (line["good"], line["shared"]) == (6.0, 2.0)
    with pytest.raises(ftp.UserError, match="metric-for-best-model known: neither way is better"):
        go(plugins_from=(where,), max_steps=1, metric_for_best_model="known", out=str(tmp_path / "known"))
    assert '"event": "step"' not in (tmp_path / "known" / "log.jsonl").read_text()
    assert go(plugins_from=(where,), max_steps=1, metric_for_best_model="shared").step == 1


def test_a_score_that_needs_more_rows_than_are_tried_is_left_to_the_evaluation(go: Any, tmp_path: Path) -> None:
    where = plugin_file(tmp_path, '''
@ftp.plugin
class Mine:
    """Scores no fewer than all validation rows."""
    @ftp.hookimpl
    def evaluate(self, predictions):
        if any(len(seen.rows) < 20 for name, seen in predictions.items() if name == "validation"):
            raise ValueError("too few rows")
        return [ftp.types.Score("many", 1.0, "max", split) for split in predictions]
''')
    # not at the look at a few rows before training, but at the evaluation of all 13
    with pytest.raises(ftp.PluginError, match="failed in evaluate: ValueError: too few rows"):
        go(plugins_from=(where,), max_steps=1, metric_for_best_model="many", out=str(tmp_path / "few"))
    assert '"event": "started"' in (tmp_path / "few" / "log.jsonl").read_text()


def test_what_follows_from_the_rows_is_told_kept_and_not_asked_again_at_a_resume(
    go: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ftp.options import read_recipe
    from ftp.plugins.plan import prepare
    from ftp.runs.run import execute
    from ftp.train import amount

    where = plugin_file(tmp_path, '''
@ftp.plugin
class Mine:
    """Is interrupted in its fifth update, once."""
    @ftp.hookimpl(wrapper=True)
    def train_step(self, run, step):
        once = run.out / "once"
        if step == 4 and not once.exists():
            once.write_text("")
            raise KeyboardInterrupt
        return (yield)
''')
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        go(plugins_from=(where,), out=str(out), batch_size=None, epochs=None, early_stopping_patience=None,
           save_steps=2)
    recipe = read_recipe(out / "run.toml")
    assert (recipe["batch_size"], recipe["epochs"], recipe["early_stopping_patience"]) == (8, 10.0, 0)  # `none` is never
    line = next(line for line in (out / "run.toml").read_text().splitlines() if line.startswith("epochs"))
    assert line == "epochs = 10.0 # 60 updates; 300 are wanted, in 3 to 10 passes"
    told = [line["message"] for line in read_log(out / "log.jsonl") if line["event"] == "told"]
    assert any("--batch-size 8 (45 training rows, 1,000 at most), --epochs 10 (" in message for message in told)

    # a newer version may have another rule; the options of the command that resumes leave the numbers open
    monkeypatch.setattr(amount, "UPDATES", 12)
    monkeypatch.setattr(amount, "BATCHES", ((10, 1), (20, 2)))
    numbers = ("plugins", "batch_size", "epochs", "early_stopping_patience")
    given = {key: value for key, value in recipe.items() if key not in numbers}
    result = execute(prepare(recipe["plugins"], given=[("options", {**given, "out": str(out)})]), resume=out)
    assert result.step == 60
    assert line in (out / "run.toml").read_text()
    again = execute(prepare(recipe["plugins"], given=[("options", {**given, "out": str(tmp_path / "new"), "max_steps": 1})]))
    assert read_recipe(again.out / "run.toml")["batch_size"] == 32


@pytest.mark.parametrize("gives_macro_f1", [True, False])
def test_macro_f1_picks_the_best_and_is_shown_first_where_classes_are_uneven(
    go: Any, tmp_path: Path, gives_macro_f1: bool
) -> None:
    from ftp.options import read_recipe

    folder = tmp_path / "uneven"
    folder.mkdir()
    for split, count in (("train", 60), ("validation", 20)):
        rows = [{"text": f"{WORDS[n % 15]} {split} {n}", "label": int(n % 15 == 0)} for n in range(count)]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    where = plugin_file(tmp_path, '''
@ftp.plugin(gives=("labelled",))
class Mine:
    """Gives rows, and a score of its own for them."""
    @ftp.hookimpl
    def load_data(self, run):
        from ftp.data import load
        return load(run, form="labelled")
    @ftp.hookimpl
    def evaluate(self, predictions):
        return [ftp.types.Score("many", 1.0, "max", split) for split in predictions]
''')
    domain = {"plugins": ["full", "sentiment"]} if gives_macro_f1 else {"plugins": ["full"], "plugins_from": (where,)}
    result = go(**domain, data=str(folder), max_steps=2, follows=True)
    told = " ".join(line["message"] for line in lines(result, "told"))
    assert "--metric-for-best-model macro_f1 (the rarest class has 4 rows, less than a fifth of the 30" in told
    kept = read_recipe(result.out / "run.toml").get("metric_for_best_model")
    if gives_macro_f1:
        assert kept == "macro_f1" and result.scores[0].name == "macro_f1"
    else:
        assert kept is None and "no plugin of this run gives macro_f1" in told


def test_early_stopping_ends_after_evaluations_that_are_no_better(go: Any) -> None:
    result = go(epochs=40.0, learning_rate=5e-2, eval_steps=3, early_stopping_patience=2)
    looks = [look["validation_loss"] for look in lines(result, "evaluation")]
    assert result.step < 240 and "no better for 2 evaluations" in result.reason
    assert min(looks[:-2]) <= min(looks[-2:])


def test_a_loss_that_is_not_finite_names_the_rows_and_keeps_the_checkpoint(go: Any, tmp_path: Path) -> None:
    where = plugin_file(tmp_path, '''
@ftp.plugin
class Mine:
    """Breaks the loss of the fifth update."""
    seen = 0
    @ftp.hookimpl(wrapper=True)
    def train_step(self):
        import dataclasses
        out = yield
        self.seen += 1
        return dataclasses.replace(out, loss=out.loss * float("nan")) if self.seen == 5 else out
''')
    with pytest.raises(ftp.UserError, match=r"the loss is nan; training rows of that update: \d+, \d+") as caught:
        go(plugins_from=(where,), save_steps=2)
    assert "last good checkpoint" in str(caught.value)
    assert checkpoint_path(tmp_path / "run0" / "checkpoints", 4).is_dir()


def test_a_plugin_can_stop_training(go: Any, tmp_path: Path) -> None:
    where = plugin_file(tmp_path, '''
@ftp.plugin
class Mine:
    """Has seen enough."""
    @ftp.hookimpl
    def on_event(self, event):
        return Stop("enough") if isinstance(event, ftp.types.Step) and event.step == 3 else None
''')
    result = go(plugins_from=(where,))
    assert result.step == 3 and result.reason == "mine: enough"


@pytest.mark.parametrize("at", ["data", "start", "evaluation", "end"])
def test_a_check_that_raises_is_not_run_for_good_and_fails_only_where_asked(go: Any, tmp_path: Path, at: str) -> None:
    """Whatever it says at other stages."""
    where = plugin_file(tmp_path, '''
@ftp.plugin
class Mine:
    """Breaks."""
    at: str = ftp.option("", "stage")
    level: str = ftp.option("warn", "level")
    @ftp.hookimpl
    def check_risks(self, stage):
        if stage == self.at:
            raise ZeroDivisionError("oh")
        return [Risk("its own", self.level, f"looked at {stage}", {"rows": 1}, ("ftp runs",)), Risk("other", "ok", "fine")]
''')
    options = {"plugins_from": (where,), "mine.at": at, "max_steps": 2, "eval_steps": 1, "report": False}
    risks = {risk.name: risk for risk in go(**options).risks}
    names = {"mine"} if at == "data" else {"its own", "other"}
    assert names <= {*risks} and not {"mine", "its own", "other"} - names & {*risks}
    for name in names:
        assert risks[name].level == "not_run" and risks[name].finding.startswith("the check failed: ZeroDivisionError: oh"), risks
        assert risks[name].stage == at
    if at == "end":
        assert "before that it said warn: looked at evaluation" in risks["its own"].finding
    with pytest.raises(ftp.RiskStop, match="ZeroDivisionError: oh"):
        go(("full", "sentiment", *(f"-{name}" for name in FIVE)), on_risk="fail", **options, **{"mine.level": "note"})


@pytest.mark.parametrize("at", ["data", "start", "evaluation", "end"])
def test_a_mistake_that_a_check_finds_ends_a_run_before_training_and_not_after(go: Any, tmp_path: Path, at: str) -> None:
    where = plugin_file(tmp_path, '''
@ftp.plugin
class Mine:
    """Refuses."""
    at: str = ftp.option("", "stage")
    @ftp.hookimpl
    def check_risks(self, stage):
        if stage == self.at:
            raise ftp.UserError("--mine.at: not this one", "another")
        return [Risk("mine", "ok", "fine", {"rows": 1})]
''')
    options = {"plugins_from": (where,), "mine.at": at, "max_steps": 1, "report": False}
    if at in ("data", "start"):
        with pytest.raises(ftp.UserError, match="not this one"):
            go(**options)
    else:
        result = go(**options)
        mine = next(risk for risk in result.risks if risk.name == "mine")
        assert result.step == 1 and mine.level == "not_run" and "--mine.at: not this one" in mine.finding


@pytest.mark.parametrize("policy", ["warn", "stop", "fail"])
def test_a_warning_at_an_evaluation_ends_training_where_asked(go: Any, tmp_path: Path, policy: str) -> None:
    where = plugin_file(tmp_path, '''
@ftp.plugin
class Mine:
    """Warns at the second evaluation, and has forgotten it at the end."""
    @ftp.hookimpl
    def check_risks(self, stage, history):
        now = stage == "evaluation" and len(history) == 2
        return [Risk("mine", "warn", "enough", {"looks": 2}, ("ftp runs",))] if now else []
''')
    out = tmp_path / "judged"
    options = {"plugins_from": (where,), "max_steps": 8, "eval_steps": 2, "on_risk": policy, "report": False, "out": out,
               "head_init": "random"}
    plugins = ("full", "sentiment", *(f"-{name}" for name in FIVE))
    if policy == "fail":
        with pytest.raises(ftp.RiskStop, match="risk mine: enough"):
            go(plugins, **options)
    else:
        result = go(plugins, **options)
        assert result.step == (8 if policy == "warn" else 4) and ("risk mine: enough" in result.reason) == (policy == "stop")
    facts = json.loads((out / "run.json").read_text())
    assert facts["status"] == ("stopped" if policy == "fail" else "finished") and facts["steps"] == (8 if policy == "warn" else 4)
    looks = [line for line in read_log(out / "log.jsonl") if line["event"] == "evaluation"]
    assert facts["best_step"] == min(looks, key=lambda look: look["validation_loss"])["step"] and (out / "model").is_dir()


@pytest.mark.parametrize("eval_steps, expected", [(8, 128), (100, 200), (200, 300)])
def test_few_training_rows_are_scored_where_looks_are_close(go: Any, tmp_path: Path, eval_steps: int, expected: int) -> None:
    """A quarter of the rows between two evaluations (a twelfth of the cost), but 128, and no more than are held out."""
    for split, count in (("train", 400), ("validation", 300)):
        lines = [json.dumps({"text": f"{split} {n}", "label": n % 2}) for n in range(count)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    where = plugin_file(tmp_path, '''
@ftp.plugin
class Mine:
    """Counts."""
    @ftp.hookimpl
    def check_risks(self, stage, history):
        if stage == "evaluation":
            return [Risk("mine", "ok", "counted", {"rows": [len(history[-1].train_losses), len(history[-1].losses)]})]
''')
    result = go(("full", "sentiment", *(f"-{name}" for name in FIVE)), data=str(tmp_path), plugins_from=(where,),
                max_steps=eval_steps, epochs=9.0, eval_steps=eval_steps, report=False)
    assert next(risk.evidence for risk in result.risks if risk.name == "mine") == {"rows": [expected, 300]}


def test_a_check_that_never_speaks_is_not_run(go: Any, tmp_path: Path) -> None:
    where = plugin_file(tmp_path, '''
@ftp.plugin
class Mine:
    """Says nothing."""
    @ftp.hookimpl
    def check_risks(self, stage):
        return []
''')
    risks = {risk.name: risk for risk in go(plugins_from=(where,), max_steps=1, report=False).risks}
    assert (risks["mine"].level, risks["mine"].finding) == ("not_run", "the check said nothing")


def test_a_verdict_stop_before_training_ends_the_run(go: Any, tmp_path: Path) -> None:
    where = plugin_file(tmp_path, '''
@ftp.plugin
class Mine:
    """Says stop."""
    @ftp.hookimpl
    def check_risks(self, stage):
        return [Risk("mine", "stop", "no further", advice=("ftp data check",))] if stage == "data" else []
''')
    with pytest.raises(ftp.RiskStop, match="no further"):
        go(plugins_from=(where,))
    levels = {risk["name"]: risk["level"] for risk in json.loads((tmp_path / "run0" / "risks.json").read_text())}
    assert levels["mine"] == "stop"
    assert json.loads((tmp_path / "run0" / "run.json").read_text())["status"] == "stopped"


def test_an_error_in_a_hook_names_plugin_and_hook(go: Any, tmp_path: Path) -> None:
    where = plugin_file(tmp_path, '''
@ftp.plugin
class Mine:
    """Breaks."""
    @ftp.hookimpl
    def evaluate(self):
        raise KeyError("gone")
''')
    with pytest.raises(ftp.PluginError, match=r"plugin 'mine' \(.*inhouse.py\) failed in evaluate: KeyError: 'gone'"):
        go(plugins_from=(where,))


def test_two_scores_of_one_name_are_an_error(go: Any, tmp_path: Path) -> None:
    where = plugin_file(tmp_path, '''
@ftp.plugin
class Mine:
    """Gives a score that sentiment gives too."""
    @ftp.hookimpl
    def evaluate(self, predictions):
        return [Score("accuracy", 1.0, "max", split) for split in predictions]
''')
    with pytest.raises(ftp.UserError, match="score 'accuracy' of split 'validation' comes from"):
        go(plugins_from=(where,), max_steps=1)


def test_streaming_trains_for_the_steps_asked(go: Any) -> None:
    result = go(streaming=True, max_steps=7)
    assert result.step == 7
    with pytest.raises(ftp.UserError, match="--max-steps"):
        go(streaming=True)


def weights(result: Any) -> bytes:
    return (result.out / "model" / "model.safetensors").read_bytes()


def test_recomputed_activations_give_the_same_updates(go: Any) -> None:
    plain, sparing = go(), go(gradient_checkpointing=True)
    assert losses(sparing) == pytest.approx(losses(plain), rel=1e-6)
    plain_norms = [line["grad_norm"] for line in lines(plain, "step")]
    sparing_norms = [line["grad_norm"] for line in lines(sparing, "step")]
    assert plain_norms == pytest.approx(sparing_norms, rel=1e-5)


def test_recomputed_activations_are_really_recomputed(go: Any, tmp_path: Path) -> None:
    """The first layer runs twice for each update, once forward and once backward; without the option once."""
    where = plugin_file(tmp_path, '''
@ftp.plugin
class Mine:
    """Counts what the first layer does in training."""
    count = 0
    @ftp.hookimpl(wrapper=True)
    def build_model(self):
        model = yield
        layer = model.net.get_base_model() if hasattr(model.net, "get_base_model") else model.net
        def seen(*_):
            self.count += model.net.training
        layer.bert.encoder.layer[0].attention.register_forward_hook(seen)
        return model
    @ftp.hookimpl
    def on_event(self, run, event):
        if isinstance(event, ftp.types.Evaluated):
            run.tell(f"seen {self.count}")
''')
    for plugins in (["full", "sentiment"], ["lora", "sentiment"]):
        counts = []
        for on in (False, True):
            result = go(plugins, plugins_from=(where,), gradient_checkpointing=on, pack="off")
            messages = [line["message"] for line in lines(result, "told")]
            counts.append(int(next(message for message in messages if message.startswith("seen")).split()[1]))
        assert counts[1] >= counts[0] + 6, f"{plugins}: {counts}"


def test_gradients_are_clipped_and_their_norm_before_it_is_told(go: Any, tmp_path: Path) -> None:
    """What reaches the optimizer has the norm allowed; smaller gradients are left alone."""
    where = plugin_file(tmp_path, '''
@ftp.plugin
class Mine:
    """Tells the norm of the gradients that the optimizer took."""
    @ftp.hookimpl(wrapper=True)
    def train_step(self, run, optimizer):
        import torch
        out = yield
        norms = [w.grad.norm() for group in optimizer.param_groups for w in group["params"] if w.grad is not None]
        run.log.event("taken", norm=float(torch.stack(norms).norm()))
        return out
''')
    free = go(plugins_from=(where,), max_grad_norm=0, seed=3)
    norms = [line["grad_norm"] for line in lines(free, "step")]
    assert [line["norm"] for line in lines(free, "taken")] == pytest.approx(norms, rel=1e-4)
    limit = norms[0] / 4
    tight = go(plugins_from=(where,), max_grad_norm=limit, seed=3)
    assert lines(tight, "step")[0]["grad_norm"] == pytest.approx(norms[0], rel=1e-5), "told as it was before clipping"
    for step, taken in zip(lines(tight, "step"), lines(tight, "taken"), strict=True):
        assert taken["norm"] == pytest.approx(min(limit, step["grad_norm"]), rel=1e-3)
    assert weights(tight) != weights(free)
    wide = go(max_grad_norm=max(norms) * 10, seed=3)
    assert losses(wide) == pytest.approx(losses(free), rel=1e-6)


def precision_of(result: Any) -> str:
    return str(json.loads((result.out / "run.json").read_text())["precision"])


def test_precision(go: Any) -> None:
    full = go(precision="fp32", max_steps=2, head_init="random")
    half = go(precision="bf16", max_steps=2, head_init="random")
    auto = go(precision="auto", max_steps=2, head_init="random")
    assert losses(half) != losses(full) and losses(half) == pytest.approx(losses(full), rel=0.05)
    assert (precision_of(full), precision_of(half)) == ("fp32", "bf16")
    same = {"fp32": full, "bf16": half}[precision_of(auto)]  # which one depends on the machine
    assert losses(auto) == losses(same)
    with pytest.raises(ftp.UserError, match=r"fp16.*CPU|CPU.*fp16"):
        go(precision="fp16", max_steps=1)


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant", "wsd"])
def test_a_run_takes_the_learning_rates_of_its_schedule(go: Any, kind: Any) -> None:
    result = go(lr_scheduler_type=kind, warmup_steps=2, epochs=2.0, learning_rate=1e-3)
    settings = Settings(lr_scheduler_type=kind, warmup_steps=2)
    scheduled = [1e-3 * schedule(settings, 12, step) for step in range(12)]
    assert [line["learning_rate"] for line in lines(result, "step")] == pytest.approx(scheduled, rel=1e-9)


def test_a_plugin_orders_the_rows(go: Any, tmp_path: Path) -> None:
    """Updates have the rows that it says, epoch by epoch; what it may not say is refused in its name."""
    where = plugin_file(tmp_path, '''
@ftp.plugin
class Mine:
    """Takes the shortest rows first, in updates of two, and fewer of them in the second epoch."""
    wrong: int = ftp.option(0, "a row that is too high by this")
    @ftp.hookimpl
    def order_rows(self, data, lengths, rows, epoch):
        import numpy as np
        assert len(lengths) == len(rows) and len(data.splits["train"]) > max(rows)
        order = np.argsort(lengths, kind="stable")[: 6 - 2 * epoch]
        return [[int(row) + self.wrong for row in order[start : start + 2]] for start in range(0, len(order), 2)]
    @ftp.hookimpl(wrapper=True)
    def train_step(self, run, batches):
        run.log.event("seen", rows=sum(batch.rows for batch in batches), tokens=sum(batch.tokens for batch in batches))
        return (yield)
''')
    result = go(plugins_from=(where,), epochs=2.5)
    seen = lines(result, "seen")
    assert result.step == 3 + 2 + 1 and {line["rows"] for line in seen} == {2}
    tokens = [line["tokens"] for line in seen]
    assert tokens[:3] == sorted(tokens[:3]) and tokens[3:] == [*tokens[:2], tokens[0]]
    with pytest.raises(ftp.PluginError, match=r"order_rows of mine: epoch 0 has rows from .*; the encoded rows are 0 to 44"):
        go(plugins_from=(where,), max_steps=1, mine={"wrong": 45})
    with pytest.raises(ftp.UserError, match=r"--streaming: .* and mine orders rows"):
        go(plugins_from=(where,), max_steps=1, streaming=True)


def test_a_tenth_of_ten_updates_is_one() -> None:
    assert count_updates(2.1, lambda epoch: 10) == 21
    assert count_updates(1.5, lambda epoch: [3, 5][epoch]) == 6


def test_a_plugin_makes_the_optimizer_and_the_schedule(go: Any, tmp_path: Path) -> None:
    """The update is that of plain SGD, at the share of each group's own rate that the schedule gives, over the right steps."""
    where = plugin_file(tmp_path, '''
@ftp.plugin
class Mine:
    """Trains by SGD, the head ten times as fast."""
    @ftp.hookimpl
    def make_optimizer(self, run, model, loss):
        import torch
        from ftp.train import parameter_groups, scale_rates
        optimizer = torch.optim.SGD(parameter_groups(model, loss, run.settings))
        scale_rates(optimizer, model, loss, lambda name, weight: 10.0 if name.startswith("classifier") else 1.0)
        return optimizer
    @ftp.hookimpl
    def make_schedule(self, total):
        return lambda step: 1 - step / total
    @ftp.hookimpl(wrapper=True)
    def train_step(self, run, model, optimizer, step, total):
        head = model.net.classifier.bias
        before = head.detach().clone()
        out = yield
        rates = sorted({group["lr"] for group in optimizer.param_groups})
        moved = (head.detach() - (before - rates[-1] * head.grad)).abs().max()
        run.log.event("seen", number=step, total=total, rates=rates, off=moved.item())
        return out
''')
    result = go(["full", "sentiment"], plugins_from=(where,), max_steps=4, learning_rate=0.02, weight_decay=0.0)
    for number, line in enumerate(lines(result, "seen")):
        share = 1 - number / 4
        assert (line["number"], line["total"]) == (number, 4)
        assert line["rates"] == pytest.approx([0.02 * share, 0.2 * share]) and line["off"] < 1e-6


@pytest.mark.parametrize("method", ["full", "lora"])
def test_what_was_saved_is_proven_in_a_fresh_process(go: Any, method: str, tmp_path: Path) -> None:
    result = go([method, "sentiment"], verify=True, max_steps=2)
    assert [line["doing"] for line in lines(result, "stage")][-2:].count("verifying model/ in a fresh process") == 1
    broken = plugin_file(tmp_path, '''
@ftp.plugin
class Mine:
    """Loses the new head on the way to the disk."""
    @ftp.hookimpl(wrapper=True)
    def build_model(self):
        import dataclasses
        model = yield
        def save(folder):
            from safetensors.torch import load_file, save_file
            (model.save or model.net.save_pretrained)(folder)
            file = next(folder.glob("*.safetensors"))
            save_file({name: weight * (0 if "classifier" in name else 1) for name, weight in load_file(file).items()}, file,
                      {"format": "pt"})
        return dataclasses.replace(model, save=save)
''')
    with pytest.raises(Exception, match="gives other logits than the trained network"):
        go([method, "sentiment"], verify=True, max_steps=2, plugins_from=(broken,))


@pytest.mark.parametrize(("declared", "message"), [
    ("", r"several domains \(sentiment, mine\); whose rows these are is not known"),  # known before anything is loaded
    (", splits=('general',)", r"split 'test' comes from two plugins: 'sentiment'.*'mine'"),  # it does otherwise than it says
])
def test_two_plugins_that_give_one_split_are_named(go: Any, tmp_path: Path, declared: str, message: str) -> None:
    where = plugin_file(tmp_path, f'''
@ftp.plugin(gives=("labelled",){declared})
class Mine:
    """Gives rows for a split that sentiment gives too."""

    @ftp.hookimpl
    def load_data(self):
        from datasets import Dataset
        return {{"test": Dataset.from_dict({{"text": ["a", "b"], "label": [0, 1]}})}}
''')
    with pytest.raises(ftp.UserError, match=message):
        go(plugins_from=(where,), max_steps=1)


@pytest.mark.parametrize(("kind", "expected"), [
    ("linear", [1 / 3, 2 / 3, 1.0, 0.875, 0.125]),
    ("constant", [1 / 3, 2 / 3, 1.0, 1.0, 1.0]),
    ("cosine", [1 / 3, 2 / 3, 1.0, 0.9619, 0.0381]),
    ("wsd", [1 / 3, 2 / 3, 1.0, 1.0, 0.625]),
])
def test_schedules(kind: Any, expected: list[float]) -> None:
    settings = Settings(lr_scheduler_type=kind, warmup_steps=2)
    assert [schedule(settings, 10, step) for step in (0, 1, 2, 3, 9)] == pytest.approx(expected, abs=1e-4)


def test_random_states_of_an_update_depend_on_seed_step_and_rank_alone() -> None:
    import torch

    def draw(*indices: int) -> float:
        seed_step(*indices)
        return float(torch.rand(()))

    first = draw(1, 2, 0)
    torch.rand(17)
    assert draw(1, 2, 0) == first
    assert len({first, draw(2, 2, 0), draw(1, 3, 0), draw(1, 2, 1)}) == 4


def test_a_run_tells_how_it_ended_and_keeps_what_a_plugin_counts(go: Any, tmp_path: Path) -> None:
    from ftp.cli.main import call

    where = plugin_file(tmp_path, '''
@ftp.plugin
class Mine:
    """Counts what it hears, across a resume, and writes down how runs end."""
    heard = 0
    @ftp.hookimpl
    def on_event(self, run, event):
        if isinstance(event, ftp.types.Started | ftp.types.Step):
            self.heard += 1
        if isinstance(event, ftp.types.Finished | ftp.types.Failed):
            end = event.result.reason if isinstance(event, ftp.types.Finished) else str(event.error)
            run.log.event("heard", what=type(event).__name__, count=self.heard, end=end, after=event.step,
                          report=(run.out / "report.html").exists())
        if isinstance(event, ftp.types.Step) and event.step == 4 and (run.out.parent / "fail").exists():
            raise ValueError("enough")
    def state(self):
        return {"heard": self.heard}
    def restore(self, state):
        self.heard = state["heard"]
''')
    out = tmp_path / "broken"
    (tmp_path / "fail").touch()
    with pytest.raises(ftp.PluginError, match="failed in on_event: ValueError: enough"):
        go(plugins_from=(where,), max_steps=6, save_steps=2, out=out, report=True)
    # it heard of the start and of four updates; the checkpoint after update 2 knows of three events
    [failed] = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines() if '"heard"' in line]
    assert (failed["what"], failed["after"], failed["count"], failed["report"]) == ("Failed", 4, 5, False)
    assert "enough" in failed["end"]
    (tmp_path / "fail").unlink()
    assert call(["run", "--resume", str(out), "--trust-recipe"]) == 0
    heard = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines() if '"heard"' in line]
    finished = heard[-1]
    assert (finished["what"], finished["after"], finished["count"], finished["report"]) == ("Finished", 6, 8, True)
    assert finished["end"] == "the schedule is done"


def test_a_state_that_no_checkpoint_can_hold_is_told_before_training(go: Any, tmp_path: Path) -> None:
    where = plugin_file(tmp_path, '''
@ftp.plugin
class Mine:
    """Keeps what cannot be saved."""
    @ftp.hookimpl(wrapper=True)
    def train_step(self, run):
        (run.out / "trained").touch()
        return (yield)
    def state(self):
        import numpy as np
        around = {}
        around["me"] = around
        return {"count": np.int64(3), "around": around, "seen": {3, 5}, "rows": {"train": [np.arange(3)]}}
    def restore(self, state):
        raise AssertionError
''')
    out = tmp_path / "run"
    with pytest.raises(ftp.PluginError) as caught:
        go(plugins_from=(where,), max_steps=6, out=out)
    text = str(caught.value)
    assert "plugin 'mine'" in text and "inhouse.py" in text and "count" not in text
    assert "state()['seen'] is set: a checkpoint holds numbers, texts, tensors" in text
    assert "state()['rows']['train'][0] is ndarray" in text
    assert "state()['around'] holds itself" in text
    assert not (out / "trained").exists()
