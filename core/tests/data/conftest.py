from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ftp.types import Task


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def make_run() -> Callable[..., Any]:
    """A run with the settings that `ftp.data` reads; `told` collects what it tells."""

    def make(form: str, **settings: Any) -> Any:
        usual = {"data": None, "columns": (), "streaming": False, "seed": 0, "validation_share": 0.2,
                 "group_column": None, "max_decompressed": None, "max_train_rows": None, "join_labels": False}  # fmt: skip
        messages: list[str] = []
        return SimpleNamespace(
            settings=SimpleNamespace(**{**usual, **settings}), task=Task(form, "labels"), tell=messages.append, told=messages
        )

    return make
