"""What the tests of core's losses share: tiny models of any head, and the run that they are asked for in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ftp import model as models
from ftp.net import packing
from ftp.settings import Settings
from ftp.types import Data, Head, Model, Run, Task
from ftp_testing.models import tiny


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], Path]:
    folders: dict[str, Path] = {}

    def get(kind: Any) -> Path:
        if kind not in folders:
            folders[kind] = tiny(kind, tmp_path_factory.mktemp(kind))
        return folders[kind]

    return get


@pytest.fixture
def load(folder: Callable[[Any], Path]) -> Callable[..., Model]:
    """`load("bert", "tags", labels, packed=True)`; a model that cannot be packed fails the test."""

    def get(kind: str, head: Head, labels: tuple[str, ...] = (), *, packed: bool = False) -> Model:
        model = models.load(models.Source("tiny", folder=folder(kind)), head, labels, seed=3)
        model.net.eval()
        if kind == "bert":  # as BERT's own tokenizer does
            model.tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
        if packed:
            able, why = packing.can_pack(model.net, model.tokenizer)
            assert able, why
        return replace(model, packed=packed)

    return get


class Told(Run):
    """A run that remembers what it tells."""

    def tell(self, message: str) -> None:
        self.__dict__.setdefault("told", []).append(message)


@pytest.fixture
def run() -> Callable[..., Any]:
    def make(task: Task, **settings: Any) -> Any:
        return Told(Settings(**settings), task, hooks=None)  # type: ignore[arg-type]

    return make


@pytest.fixture
def data() -> Callable[..., Data]:
    def make(form: Any, splits: Mapping[str, Sequence[Mapping[str, Any]]], labels: tuple[str, ...] = ()) -> Data:
        from datasets import Dataset

        return Data({name: Dataset.from_list([dict(row) for row in rows]) for name, rows in splits.items()}, form, labels)

    return make
