"""clm, a whole run: a network from scratch is trained, saved, verified by plain Transformers, and continues text."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import ftp
from ftp_testing.models import TEXTS

DOMAIN = '''
from ftp import hookimpl, plugin

@plugin(gives=("text",))
class Text:
    """Texts of a file."""

    @hookimpl
    def load_data(self, run):
        from ftp.data import load

        return load(run, None, form="text")
'''
CONFIG = ('{"model_type": "llama", "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96, '
          '"max_position_embeddings": 128}')


@pytest.mark.slow
def test_from_scratch_to_a_continuation(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    (tmp_path / "text.py").write_text(DOMAIN, encoding="utf-8")
    words, draw = sorted(set(" ".join(TEXTS).split())), random.Random(0)
    texts = [" ".join(draw.choices(words, k=12)) for _ in range(80)]  # none like another, or a risk check would stop the run
    (tmp_path / "rows.txt").write_text("\n".join(texts), encoding="utf-8")
    done = ftp.run(["full", "clm"], plugins_from=(f"{tmp_path / 'text.py'}:Text",), out=str(tmp_path / "run"),
                   data=str(tmp_path / "rows.txt"), learning_rate=1e-2, max_steps=40, batch_size=4, precision="fp32",
                   cache_dir=str(tmp_path / "cache"), clm={"model_config": CONFIG, "vocab_size": 400, "max_new_tokens": 6})
    before = {score.name: score.value for score in done.baselines}
    for name in ("perplexity", "bits_per_byte"):
        assert 0 < done.score(name) < 0.8 * before[name], name
    answer = ftp.load(tmp_path / "run").predict(["The film was a"])[0]["answer"]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    asked = tokenizer("The film was a", return_tensors="pt")
    net = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model")
    generated = net.generate(input_ids=asked["input_ids"], attention_mask=asked["attention_mask"],
                             max_new_tokens=6, do_sample=False)
    assert tokenizer.decode(generated[0, asked["input_ids"].shape[1]:], skip_special_tokens=True) == answer
