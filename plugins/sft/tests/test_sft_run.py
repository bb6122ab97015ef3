"""sft from the command's names to an answer: trained, saved with its template, taken up again, asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import ftp
from ftp_testing.models import tiny

DOMAIN = '''
from ftp import hookimpl, plugin

@plugin(gives=("conversation",))
class Talk:
    """Conversations of a file."""

    @hookimpl
    def load_data(self, run):
        from ftp.data import load

        return load(run, None, form="conversation")
'''


@pytest.mark.parametrize("template", [None, "own"])
def test_a_run_trains_saves_its_template_and_answers(tmp_path: Path, template: str | None) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = tiny("llama", tmp_path / "tiny")
    if template is None:
        (model / "chat_template.jinja").unlink()
    (tmp_path / "talk.py").write_text(DOMAIN, encoding="utf-8")
    rows = [{"prompt": f"What is {number} plus one?", "completion": "It is one more."} for number in range(40)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    out = tmp_path / "run"
    done = ftp.run(["full", "sft"], plugins_from=(f"{tmp_path / 'talk.py'}:Talk",), model=str(model), out=str(out),
                   data=str(tmp_path / "rows.jsonl"), learning_rate=1e-2, epochs=8, precision="fp32",
                   baselines=False, cache_dir=str(tmp_path / "cache"), sft={"generate": 2, "max_new_tokens": 12})
    assert done.score("mean_token_accuracy") > 0.5
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [line["loss"] for line in lines if line["event"] == "step"]
    assert losses[-1] < losses[0] / 2
    answer = ftp.load(out).predict(["What is 3 plus one?"])[0]["answer"]
    assert answer == "It is one more.", "it has learnt to begin, and to stop"
    tokenizer = AutoTokenizer.from_pretrained(out / "model")
    asked = tokenizer.apply_chat_template([{"role": "user", "content": "What is 3 plus one?"}], add_generation_prompt=True,
                                          return_tensors="pt")
    generated = AutoModelForCausalLM.from_pretrained(out / "model").generate(**asked, max_new_tokens=12, do_sample=False)
    plain = tokenizer.decode(generated[0, asked["input_ids"].shape[1]:], skip_special_tokens=True).strip()
    assert plain == answer, "plain Transformers asks and stops as ftp does"
