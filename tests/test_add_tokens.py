"""Tokens that a run adds: learnt, written, saved, taken up again and merged, whatever trains the weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import ftp
from ftp_testing.models import tiny

QUIET = ("-forgetting", "-leakage", "-overfitting", "-underfitting", "-preflight")
NEW = ("<|tool|>", "<|note|>")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    written = [{"prompt": f"<|tool|> Say {number}", "completion": "<|note|> It is here."} for number in range(40)]
    file.write_text("\n".join(map(json.dumps, written)), encoding="utf-8")
    return file


def run(plugins: list[str], base: Path, rows: Path, out: Path, **options: Any) -> Any:
    options = {"learning_rate": 1e-2, "epochs": 15, "batch_size": 8, "precision": "fp32", "baselines": False, "report": False,
               "eval_steps": 1000, "cache_dir": str(out.parent / "cache"), **options}
    return ftp.run([*plugins, *QUIET], model=str(base), data=str(rows), out=str(out), **options)


def answers_of(model: Path, tokenizer: Any, net: Any) -> str:
    """What plain Transformers answers."""
    asked = tokenizer.apply_chat_template([{"role": "user", "content": "<|tool|> Say 3"}], add_generation_prompt=True,
                                          return_tensors="pt", return_dict=True)
    asked.pop("token_type_ids", None)
    generated = net.eval().generate(**asked, max_new_tokens=12, do_sample=False)
    return str(tokenizer.decode(generated[0, asked["input_ids"].shape[1]:], skip_special_tokens=True).strip())


@pytest.mark.parametrize("kind, how", [("gpt2", "full"), ("llama", "lora"), ("llama", "adapters")])
def test_added_tokens_are_learnt_and_come_back(kind: Any, how: str, rows: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from ftp import model as models

    base = tiny(kind, tmp_path / "base")
    done = run([how, "files", "sft"], base, rows, tmp_path / "run", add_tokens=",".join(NEW))
    assert done.verified, "model/ loads without ftp and gives the same answers"
    assert ftp.load(done.out).predict("<|tool|> Say 3")[0]["answer"].startswith("<|note|>")
    whole = models.merge(done.out / "model", tmp_path / "whole") if how == "lora" else done.out / "model"
    tokenizer = AutoTokenizer.from_pretrained(whole)
    assert len(tokenizer("<|tool|><|note|>", add_special_tokens=False)["input_ids"]) == 2
    net = AutoModelForCausalLM.from_pretrained(whole, trust_remote_code=how == "adapters")
    assert answers_of(whole, tokenizer, net).startswith("<|note|>")


def test_a_run_with_added_tokens_goes_on_where_it_was_stopped(rows: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from ftp.folder.files import Folder
    from ftp.plugins.plan import prepare
    from ftp.runs.run import execute

    base = tiny("gpt2", tmp_path / "base")
    options: dict[str, Any] = {"add_tokens": ",".join(NEW), "max_steps": 6, "save_steps": 3, "verify": False}
    unbroken = run(["lora", "files", "sft"], base, rows, tmp_path / "unbroken", **options)
    out = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        run(["lora", "files", "sft", "stopper"], base, rows, out, plugins_from=(str(_stopper(tmp_path)),), **options)
    recipe = Folder(out).read_recipe()
    execute(prepare([name for name in recipe.pop("plugins")], given=[("recipe", recipe)]), resume=out)
    ours, theirs = (load_file(folder / "model" / "adapter_model.safetensors") for folder in (unbroken.out, out))
    assert ours.keys() == theirs.keys()
    assert all(bool((ours[name] == theirs[name]).all()) for name in ours)


def _stopper(folder: Path) -> Path:
    """A plugin that ends the first of two runs in its middle, as Ctrl-C does."""
    file = folder / "stopper.py"
    file.write_text('''
from pathlib import Path
from ftp import hookimpl, plugin
from ftp.types import Step

@plugin
class Stopper:
    """Ends a run once."""

    @hookimpl
    def on_event(self, run, event):
        mark = Path(run.out) / "stopped-once"
        if isinstance(event, Step) and event.step == 5 and not mark.exists():
            mark.touch()
            raise KeyboardInterrupt
''', encoding="utf-8")
    return file


def test_a_classifier_learns_from_an_added_token(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    lines = []
    for number in range(30):
        lines += [f"it was <|tool|> on day {number},yes", f"it was there on day {number},no"]
    file.write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    base = tiny("bert", tmp_path / "base")
    done = run(["lora", "classify"], base, file, tmp_path / "run", add_tokens="<|tool|>", epochs=10)
    assert done.verified
    assert ftp.load(done.out).predict("it was <|tool|> on day 3")[0]["answer"] == "yes"


@pytest.mark.parametrize("plugins, command", [
    (["adapters"], "--adapters.trainable_token_indices auto"), (["peft"], "--plugins lora,files,sft"),
    (["lora"], "--lora.trainable_token_indices auto")])
def test_a_method_that_would_leave_the_new_rows_is_refused(plugins: list[str], command: str, rows: Path, tmp_path: Path) -> None:
    base = tiny("gpt2", tmp_path / "base")
    options: dict[str, Any] = {} if plugins == ["peft"] else {plugins[0]: {"trainable_token_indices": "none"}}
    with pytest.raises(ftp.UserError, match="not trained by this run") as caught:
        run([*plugins, "files", "sft"], base, rows, tmp_path / "run", add_tokens="<|tool|>", **options)
    assert command in caught.value.problems[0].command


def test_a_grown_tokenizer_gets_its_rows(rows: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    base = tiny("llama", tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens(list(NEW))
    tokenizer.save_pretrained(base)
    done = run(["lora", "files", "sft"], base, rows, tmp_path / "run", resize_embeddings=True)
    assert done.verified
    assert ftp.load(done.out).predict("<|tool|> Say 3")[0]["answer"].startswith("<|note|>")


def test_tokens_that_are_known_or_in_no_row_are_told(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("\n".join(["text,label", *(f"it was <|tool|> on day {n},{'yes' if n % 2 else 'no'}" for n in range(20))]))
    base = tiny("bert", tmp_path / "base")
    done = run(["full", "classify"], base, file, tmp_path / "run", add_tokens="<|tool|>,<|tol|>,was,<|tool|>", max_steps=1,
               verify=False)
    log = [json.loads(line) for line in (done.out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    messages = [line["message"] for line in log if line["event"] == "told" and "--add-tokens" in line["message"]]
    assert len(messages) == 2, log
    assert "the model has was already" in messages[0] and "<|tol|> stands in none of the first 200 training rows" in messages[1]
    assert "<|tool|>" not in messages[0] + messages[1]
