"""Checkpoints come back as they were saved, or not at all."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from ftp.errors import UserError
from ftp.train import checkpoint, checkpoint_saving, random_states


def weights(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"a": torch.randn(7, 5, generator=generator), "b": torch.randn(3, generator=generator).to(torch.bfloat16)}


def state(step: int = 1) -> dict:
    return {"step": step, "optimizer": {0: {"exp_avg": torch.arange(4.0), "step": torch.tensor(3.0)}}, "place": (2, [1, 2]),
            "history": [{"loss": 0.5, "note": None}], "random": random_states.random_state()}


def same(left, right) -> bool:
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        return type(left) is type(right) and len(left) == len(right) and all(map(same, left, right))
    return left == right


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    saved = state()
    path = checkpoint_saving.save(tmp_path / "checkpoints", 12, weights(), saved)
    assert path == tmp_path / "checkpoints" / "step-12"
    assert checkpoint.newest(tmp_path / "checkpoints") == path
    loaded, loaded_state = checkpoint.load(path)
    assert same(loaded, weights()) and same(loaded_state, saved)
    assert names(path) == ["manifest.json", "state.pt", "weights.safetensors"]
    assert names(path.parent) == ["step-12"]


def test_optimizer_and_schedule_go_through(tmp_path: Path) -> None:
    def new_training():
        net = torch.nn.Linear(4, 2)
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.1, fused=True)
        return net, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))

    net, optimizer, schedule = new_training()
    net(torch.ones(3, 4)).sum().backward()
    optimizer.step()
    schedule.step()
    states = {"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
    path = checkpoint_saving.save(tmp_path, 1, net.state_dict(), states)
    loaded, loaded_state = checkpoint.load(path)
    again, other, other_schedule = new_training()
    again.load_state_dict(loaded)
    other.load_state_dict(loaded_state["optimizer"])
    other_schedule.load_state_dict(loaded_state["schedule"])
    for each in (net, again):
        each(torch.full((3, 4), 2.0)).sum().backward()
    optimizer.zero_grad(), other.zero_grad()
    net(torch.ones(3, 4)).sum().backward(), again(torch.ones(3, 4)).sum().backward()
    optimizer.step(), other.step()
    assert torch.equal(net.weight, again.weight) and schedule.get_last_lr() == other_schedule.get_last_lr()


def test_tied_weights_are_stored_once_and_come_back_tied(tmp_path: Path) -> None:
    tied = torch.randn(200, 50)
    whole = torch.randn(10, 10)
    saved = {"embed": tied, "head": tied, "left": whole[:5], "all": whole, "turned": whole.t(), "empty": torch.empty(0),
             "empty2": torch.empty(0, 3), "scalar": torch.tensor(2.0)}
    path = checkpoint_saving.save(tmp_path, 1, saved, {})
    assert (path / "weights.safetensors").stat().st_size < 2 * tied.nbytes
    loaded, _ = checkpoint.load(path)
    assert same(loaded, saved)
    assert loaded["embed"].data_ptr() == loaded["head"].data_ptr()
    assert loaded["all"].data_ptr() != loaded["left"].data_ptr()


@pytest.mark.parametrize("hurt", ["truncate", "flip", "lose", "no manifest", "bad manifest", "empty", "moved"])
def test_a_damaged_checkpoint_is_skipped_and_told(tmp_path: Path, hurt: str) -> None:
    good = checkpoint_saving.save(tmp_path, 9, weights(1), state(9))
    bad = checkpoint_saving.save(tmp_path, 10, weights(2), state(10))
    file = bad / "weights.safetensors"
    if hurt == "truncate":
        file.write_bytes(file.read_bytes()[:-1])
    elif hurt == "flip":
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
    elif hurt == "lose":
        (bad / "state.pt").unlink()
    elif hurt == "no manifest":
        (bad / "manifest.json").unlink()
    elif hurt == "bad manifest":
        (bad / "manifest.json").write_text('{"step": 10')
    elif hurt == "empty":
        (bad / "manifest.json").write_text('{"step": 10, "files": {}}')
    else:
        bad = bad.rename(tmp_path / "step-11")
    notes: list[str] = []
    assert checkpoint.newest(tmp_path, notes) == good
    assert len(notes) == 1 and bad.name in notes[0]
    with pytest.raises(UserError, match="damaged"):
        checkpoint.load(bad)


def test_no_checkpoint(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path) is None
    assert checkpoint.newest(tmp_path / "absent") is None


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    checkpoint_saving.save(tmp_path, 3, weights(1), {"n": 1})
    path = checkpoint_saving.save(tmp_path, 3, weights(2), {"n": 2})
    loaded, loaded_state = checkpoint.load(path)
    assert same(loaded, weights(2)) and loaded_state == {"n": 2} and names(tmp_path) == ["step-3"]


def test_killed_between_the_renames_of_a_replacement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = checkpoint_saving.save(tmp_path, 3, weights(1), {"n": 1})
    path.rename(tmp_path / ".step-3.replaced-77")
    (tmp_path / ".step-3.partial-77").mkdir()
    checkpoint.tidy(tmp_path)
    assert checkpoint.newest(tmp_path) == path and names(tmp_path) == ["step-3"]


def test_leftovers_of_killed_saves_go_and_nothing_else(tmp_path: Path) -> None:
    for name in (".step-4.partial-123", ".step-2.removed-9"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights.safetensors").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / ".step-notes").write_text("mine")
    checkpoint_saving.save(tmp_path, 5, weights(), {})
    assert names(tmp_path) == [".step-notes", "notes.txt", "step-5"]


def test_prune_keeps_newest_best_and_never_a_good_one_for_a_damaged(tmp_path: Path) -> None:
    paths = [checkpoint_saving.save(tmp_path, step, weights(), {}) for step in (1, 2, 10, 11, 12)]
    (paths[4] / "manifest.json").unlink()
    removed = checkpoint.prune(tmp_path, 1, [paths[0]])
    assert removed == [paths[1], paths[2]]
    assert names(tmp_path) == ["step-1", "step-11", "step-12"]
    assert checkpoint.newest(tmp_path) == paths[3]


def test_checkpoints_of_another_run_stay(tmp_path: Path) -> None:
    """As where checkpoints/ is a link to a folder that several runs know."""
    other = [checkpoint_saving.save(tmp_path, step, weights(), {}, {"run": "other"}) for step in (1, 2)]
    with pytest.raises(UserError, match="step-2 is a checkpoint of another run"):
        checkpoint_saving.save(tmp_path, 2, weights(), {}, {"run": "own"})
    own = [checkpoint_saving.save(tmp_path, step, weights(), {}, {"run": "own"}) for step in (3, 4)]
    assert checkpoint.prune(tmp_path, 1, run="own") == own[:1]
    assert checkpoint.newest(tmp_path, run="own") == own[1]
    assert all(checkpoint.damage(path) == "" for path in other)


@pytest.mark.parametrize("value", [np.zeros(3), Path("x"), {1, 2}, object()])
def test_state_that_could_not_be_loaded_is_refused_at_once(tmp_path: Path, value: object) -> None:
    with pytest.raises(TypeError, match=r"state\['a'\]\[1\]"):
        checkpoint_saving.save(tmp_path, 1, weights(), {"a": [0, value]})
    assert names(tmp_path) == []


def test_numbers_of_numpy_become_plain(tmp_path: Path) -> None:
    _, loaded_state = checkpoint.load(checkpoint_saving.save(tmp_path, 1, {}, {"loss": np.float32(0.5), "n": np.int64(3)}))
    assert loaded_state == {"loss": 0.5, "n": 3} and type(loaded_state["n"]) is int


def test_random_states_come_back(tmp_path: Path) -> None:
    def drawn() -> tuple:
        return random.random(), np.random.rand(), np.random.randn(), torch.rand(3).tolist(), torch.randn(1).item()

    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    drawn()
    _, loaded_state = checkpoint.load(checkpoint_saving.save(tmp_path, 1, {}, {"random": random_states.random_state()}))
    first = drawn()
    drawn()
    random_states.restore_random_state(loaded_state["random"])
    assert drawn() == first


@pytest.mark.parametrize("fail_at", range(4))
def test_disk_full_keeps_the_last_good_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail_at: int) -> None:
    folder = tmp_path / "run" / "checkpoints"
    good = checkpoint_saving.save(folder, 4, weights(1), state(4))
    calls, real = [], os.fsync

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == fail_at + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError) as caught:
        checkpoint_saving.save(folder, 8, weights(2), state(8))
    message = str(caught.value)
    assert "disk full while saving step 8" in message and "last good checkpoint: step 4" in message
    assert "free at" in message and f"ftp run --resume {tmp_path / 'run'}" in message
    assert checkpoint.newest(folder) == good and same(checkpoint.load(good)[0], weights(1))
    assert names(folder) == ["step-4"]


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 2 MB, where this machine lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("big", ["weights", "state"])
def test_a_disk_that_is_really_full(small_disk: Path, big: str) -> None:
    good = checkpoint_saving.save(small_disk, 4, weights(1), state(4))
    huge = {"x": torch.zeros(1_000_000)}
    with pytest.raises(UserError, match=r"disk full while saving step 8: 4.0 MB needed, [12].. MB free.*step 4"):
        checkpoint_saving.save(small_disk, 8, *((huge, {}) if big == "weights" else ({}, huge)))
    assert checkpoint.newest(small_disk) == good and names(small_disk) == ["step-4"]
    checkpoint_saving.save(small_disk, 9, weights(3), state(9))


@pytest.mark.parametrize("big", ["weights", "state"])
def test_a_limit_of_the_size_of_files_is_no_full_disk(tmp_path: Path, big: str) -> None:
    resource = pytest.importorskip("resource")
    folder, limits = tmp_path / "run" / "checkpoints", resource.getrlimit(resource.RLIMIT_FSIZE)
    good = checkpoint_saving.save(folder, 4, weights(1), state(4))
    huge = {"x": torch.zeros(1_000_000)}
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(UserError) as caught:
            checkpoint_saving.save(folder, 8, *((huge, {}) if big == "weights" else ({}, huge)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    text = str(caught.value)
    assert "larger than this process may write" in text and "ulimit -f" in text and "full" not in text
    assert "last good checkpoint: step 4" in text and checkpoint.newest(folder) == good


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(UserError, match="cannot save step 1"):
        checkpoint_saving.save(tmp_path / "checkpoints", 1, weights(), {})


SAVER = """
import sys
from pathlib import Path
import torch
from ftp.train import checkpoint, checkpoint_saving
folder, last = Path(sys.argv[1]), int(sys.argv[2])
step = last
while True:
    step += 1
    checkpoint_saving.save(folder, step, {"x": torch.full((200_000,), float(step))}, {"step": step})
    checkpoint.prune(folder, 2)
    if step == last + 1:
        print("saved", flush=True)
"""


@pytest.mark.slow
def test_killed_at_any_moment_the_newest_is_whole(tmp_path: Path) -> None:
    """kill -9 while saving without pause: whatever moment it hits, what `newest` gives is complete and moves on."""
    script, dice, last = tmp_path / "saver.py", random.Random(0), 0
    script.write_text(SAVER)
    for _ in range(4):
        process = subprocess.Popen([sys.executable, str(script), str(tmp_path / "c"), str(last)], stdout=subprocess.PIPE)
        # however slow the machine is, one checkpoint is whole before the process dies
        assert process.stdout and process.stdout.readline() == b"saved\n"
        time.sleep(0.2 * dice.random())
        process.send_signal(signal.SIGKILL)
        process.wait()
        checkpoint.tidy(tmp_path / "c")
        notes: list[str] = []
        path = checkpoint.newest(tmp_path / "c", notes)
        assert path is not None and not notes
        loaded, loaded_state = checkpoint.load(path)
        assert loaded_state["step"] > last and torch.equal(loaded["x"], torch.full((200_000,), float(loaded_state["step"])))
        last = loaded_state["step"]
        assert len(names(tmp_path / "c")) <= 3


def test_whoever_may_read_new_files_here_may_read_all_of_it(tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    path = checkpoint_saving.save(tmp_path, 2, weights(), {})
    assert {file.stat().st_mode for file in path.iterdir()} == {(tmp_path / "new").stat().st_mode}


def test_the_manifest_says_what_is_in_the_folder(tmp_path: Path) -> None:
    path = checkpoint_saving.save(tmp_path, 2, weights(), {})
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["step"] == 2 and set(manifest["files"]) == {"weights.safetensors", "state.pt"}


def test_what_others_put_into_a_checkpoint_stays(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        path = checkpoint_saving.save(tmp_path, step, weights(), state(step))
        (path / "notes.txt").write_text("theirs")
    (tmp_path / "epoch-9.ckpt").write_text("theirs")
    checkpoint_saving.save(tmp_path, 3, weights(), state(3))  # once more, as after a resume
    checkpoint.prune(tmp_path, keep=1)
    checkpoint.tidy(tmp_path)
    assert names(tmp_path / "step-1") == names(tmp_path / "step-2") == ["notes.txt"]
    assert (tmp_path / "epoch-9.ckpt").exists() and len(list(tmp_path.rglob("notes.txt"))) == 3
    assert checkpoint.newest(tmp_path) == tmp_path / "step-3"
