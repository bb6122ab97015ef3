"""All weights are trained, but for those that a pattern names."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftp import UserError
from ftp import model as models
from ftp.types import Model
from ftp_full import Full
from ftp_testing.models import tiny


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return models.load(models.find(str(tiny("bert", tmp_path)), "labels"), "labels", ("no", "yes"))


def wrapped(plugin: Full, model: Model) -> Model:
    wrapper = plugin.build_model()
    next(wrapper)
    with pytest.raises(StopIteration) as done:
        wrapper.send(model)
    return done.value.value


def trained(model: Model) -> set[str]:
    return {name for name, weight in model.net.named_parameters() if weight.requires_grad}


def test_everything_is_trained(model):
    model.net.bert.requires_grad_(False)
    full = wrapped(Full(), model)
    assert trained(full) == {name for name, _ in model.net.named_parameters()}
    assert models.parameters(full.net)[0] == models.parameters(full.net)[1]


def test_patterns_freeze_what_they_name_and_nothing_else(model):
    every = {name for name, _ in model.net.named_parameters()}
    full = wrapped(Full(freeze=("*embeddings*", "bert.encoder.layer.0.*")), model)
    frozen = every - trained(full)
    assert frozen == {name for name in every if "embeddings" in name or name.startswith("bert.encoder.layer.0.")}
    assert frozen and "classifier.weight" in trained(full)


def test_patterns_that_match_nothing_are_told_at_once_with_the_nearest_name(model):
    with pytest.raises(UserError) as error:
        wrapped(Full(freeze=("*embedings*", "layer.0", "classifier*")), model)
    assert len(error.value.problems) == 2
    assert "embeddings" in str(error.value) and "'*layer.0*'" in str(error.value)


def test_nothing_left_to_train(model):
    with pytest.raises(UserError, match="nothing is left"):
        wrapped(Full(freeze=("*",)), model)
