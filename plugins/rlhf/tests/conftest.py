"""A tiny decoder, prompts, and the rewards that the tests use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ftp.folder.log import Log
from ftp.losses.sampling import Completion
from ftp.plugins.call import Hooks
from ftp.plugins.plan import prepare
from ftp.types import Data, StartedRun
from ftp_rlhf import rollout
from ftp_testing.models import tiny
from ftp_testing.subject import JUDGE, ROWS

GENERATIONS, LENGTH, TEMPERATURE = 4, 10, 0.7
PROMPTS = ("How are you?", "Say something about the soup and the bread.", "What is it?")


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture
def judge(tmp_path: Path) -> Callable[..., str]:
    """Write a Python file and name one of its functions: `judge("def f(completions): ...")`."""

    def write(text: str, name: str = "f") -> str:
        path = tmp_path / f"judge{len(list(tmp_path.glob('judge*')))}.py"
        path.write_text(text)
        return f"{path}:{name}"

    return write


LETTERS = "def f(completions, **columns):\n    return [float(text.count('e')) for text in completions]\n"
"""More of the letter e is better."""


@pytest.fixture
def go(llama: Path, tmp_path: Path, judge: Callable[..., str]) -> Callable[..., Any]:
    """A run of a few updates on the kit's prompts, which like words of different kinds unless there is another reward."""

    def run(
        model: Path | None = None, plugins: tuple[str, ...] = (), out: str = "run", letters: bool = False, **options: Any
    ) -> Any:
        import ftp

        rlhf = {"max_completion_length": 12, "num_generations": 4, **options.pop("rlhf", {})}
        if letters:
            rlhf.setdefault("reward", judge(LETTERS))
        usual = {"model": str(model or llama), "out": str(tmp_path / out), "device": "cpu", "precision": "fp32", "max_steps": 4,
                 "batch_size": 4, "learning_rate": 1e-3, "verify": False, "baselines": False, "report": False, "logging_steps": 1,
                 "cache_dir": str(tmp_path / "cache"), "max_eval_rows": 4,
                 "plugins_from": (ROWS,) if letters else (ROWS, JUDGE)}
        return ftp.run(["rlhf", "-leakage", "-duplicates", *plugins], rlhf=rlhf, **{**usual, **options})

    return run


def roller(llama: Path, judge: Callable[..., str], **options: Any) -> rollout.Roller:
    """Ours on the tiny model, a little off its reference, as after some updates."""
    from ftp.runs.build import build
    from ftp.train.device import accelerator
    from ftp.train.seeds import seed_step

    function = judge("def f(completions, **columns):\n    return [0.1 * len(text) + text.count('e') for text in completions]\n")
    usual = {"num_generations": GENERATIONS, "max_completion_length": LENGTH, "temperature": TEMPERATURE, "reward": function}
    arguments = {"model": str(llama), "device": "cpu", "precision": "fp32", "rlhf": {**usual, **options}}
    prepared = prepare(["rlhf", "-leakage", "-duplicates"], [ROWS], [("test", arguments)])
    hooks = Hooks([plugin for plugin in prepared.picked if plugin.name != "kit-rows"], prepared.values)
    # the run has no folder, as nothing is written
    run = StartedRun(prepared.settings, prepared.task, hooks, None, Log(None, writer=False), accelerator(prepared.settings))  # type: ignore[arg-type]
    seed_step(0, 0, 0)
    _, loss = build(run, Data({}, "prompt"))
    roller: rollout.Roller = loss.rollout.function.__self__  # type: ignore[attr-defined]
    move(roller.model.net)
    return roller


def move(net: torch.nn.Module, size: float = 0.02) -> None:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for _, weight in sorted(net.named_parameters()):
            weight.add_(torch.randn(weight.shape, generator=generator) * size)


def rows_of(ours: rollout.Roller, completions: list[Completion]) -> list[dict[str, Any]]:
    """Our rows of one rollout with these completions."""
    ours.generate = lambda *ignored: completions
    rows = list(ours.encode([{"prompt": [{"role": "user", "content": text}]} for text in PROMPTS]))
    parts = ours.rollout(rows, 0)
    return [dict(row) for row in parts[0]]


@pytest.fixture
def rolling(llama: Path, judge: Callable[..., str]) -> SimpleNamespace:
    """`ours(**options)`: what makes rollouts, on the tiny model; `rows_of(ours, completions)`: rows of a rollout with these."""
    return SimpleNamespace(ours=lambda **options: roller(llama, judge, **options), rows_of=rows_of, move=move, prompts=PROMPTS,
                           count=len(PROMPTS) * GENERATIONS)
