"""Several ranks end as one: with one status, one message, and nobody left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ftp.train import launch

RANK = """
import os, signal, sys, time
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
how, folder = sys.argv[1], sys.argv[2]
print(f"hello from {rank}", flush=True)
def write(name, text=""):
    with open(os.path.join(folder, name), "w") as file:
        file.write(str(text))
write(f"pid{rank}", os.getpid())
if how == "well":
    import torch, torch.distributed as dist
    dist.init_process_group("gloo")
    total = torch.tensor([float(rank + 1)])
    dist.all_reduce(total)
    write(f"sum{rank}", f"{total.item()} {os.environ['OMP_NUM_THREADS']} {sys.argv[3:]}")
elif how == "all mistaken":
    print("ftp: --r: not a number", file=sys.stderr)
    sys.exit(2)
elif how == "one mistaken":
    if rank == 1:
        print("ftp: the loss is nan", file=sys.stderr)
        sys.exit(2)
    time.sleep(60)
elif how == "one raises":
    if rank == 1:
        raise ValueError("rank one is unwell")
    time.sleep(60)
elif how in ("cut off", "killed"):
    import torch, torch.distributed as dist
    dist.init_process_group("gloo")
    if rank == 1:
        print("last words of one", file=sys.stderr, flush=True)
        os._exit(13) if how == "cut off" else os.kill(os.getpid(), signal.SIGKILL)
    try:
        dist.all_reduce(torch.ones(1))
    except Exception as error:
        print("noticed", file=sys.stderr)
        sys.exit(1)
elif how == "deaf":
    signal.signal(signal.SIGTERM, lambda *_: None)
    if rank == 1:
        time.sleep(0.5)
        os._exit(7)
    import select
    end = time.time() + 60
    while time.time() < end:
        time.sleep(1)
elif how == "one is asked":
    if rank == 1:
        print("ftp: stopped by SIGUSR1", file=sys.stderr)
        sys.exit(130)
    time.sleep(60)
elif how == "waits":
    def save(*_):
        time.sleep(0.3)
        write(f"saved{rank}")
        sys.exit(130)
    signal.signal(signal.SIGINT, save)
    write(f"ready{rank}")
    time.sleep(60)
"""

START = "import sys; from ftp.train.launch import launch; sys.exit(launch(sys.argv[1:], 2, program='a_rank'))"


@pytest.fixture
def start(tmp_path: Path):
    (tmp_path / "a_rank.py").write_text(RANK)
    environment = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    environment |= {"PYTHONPATH": str(tmp_path), "TMPDIR": str(tmp_path)}
    environment.pop("OMP_NUM_THREADS", None)

    def started(how: str, *more: str) -> subprocess.Popen:
        return subprocess.Popen([sys.executable, "-c", START, how, str(tmp_path), *more], env=environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    return started


def gone(tmp_path: Path, within: float = 5) -> bool:
    """Whether every rank has ended."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        alive = [path for path in tmp_path.glob("pid*") if Path(f"/proc/{path.read_text()}").exists()]
        if not alive:
            return True
        time.sleep(0.1)
    return False


def test_all_goes_well(start, tmp_path: Path) -> None:
    process = start("well", "--lora.r", "two words")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out == "hello from 0\n"  # the other rank's goes to a file
    expected = f"3.0 {launch.threads(2)} ['--lora.r', 'two words']"
    assert (tmp_path / "sum0").read_text() == (tmp_path / "sum1").read_text() == expected
    assert not list(tmp_path.glob("ftp-ranks-*"))


def test_a_mistake_is_told_once(start) -> None:
    process = start("all mistaken")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2 and err.count("not a number") == 1 and "rank" not in err


def test_a_mistake_that_only_another_rank_saw_is_told(start) -> None:
    process = start("one mistaken")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2 and err.strip() == "ftp: the loss is nan"


def test_an_exception_of_another_rank_is_shown_once(start, tmp_path: Path) -> None:
    started = time.monotonic()
    process = start("one raises")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and err.count("ValueError: rank one is unwell") == 1
    assert "rank 1 ended with status 1; the other 1 of 2 were stopped" in err
    assert time.monotonic() - started < 30 and gone(tmp_path)


@pytest.mark.parametrize("how, status, words", [("cut off", 13, "rank 1 ended with status 13"),
                                                ("killed", 137, "rank 1 was ended by SIGKILL")])
def test_a_rank_that_is_cut_off_is_named_not_the_one_that_noticed(start, tmp_path: Path, how, status, words) -> None:
    started = time.monotonic()
    process = start(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status and words in err and err.count("last words of one") == 1
    assert time.monotonic() - started < 30 and gone(tmp_path)


def test_a_rank_that_hears_no_signal_is_ended_in_time(start, tmp_path: Path) -> None:
    started = time.monotonic()
    process = start("deaf")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 7 and "rank 1 ended with status 7" in err
    assert time.monotonic() - started < 25 and gone(tmp_path)


def ready(tmp_path: Path) -> None:
    end = time.monotonic() + 60
    while len(list(tmp_path.glob("ready*"))) < 2:
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_ctrl_c_reaches_all_and_lets_them_save(start, tmp_path: Path, number: int) -> None:
    process = start("waits")
    ready(tmp_path)
    process.send_signal(number)
    if number != signal.SIGINT:  # comes again, from a shell for example, and means the same
        time.sleep(0.1)
        process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err == ""
    assert len(list(tmp_path.glob("saved*"))) == 2 and gone(tmp_path)


def test_a_hangup_that_is_ignored_stays_ignored(start, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does, for all that is started from here
    try:
        process = start("waits")
        ready(tmp_path)
    finally:
        signal.signal(signal.SIGHUP, before)
    process.send_signal(signal.SIGHUP)
    for path in tmp_path.glob("pid*"):
        os.kill(int(path.read_text()), signal.SIGHUP)
    time.sleep(1)
    assert process.poll() is None and not list(tmp_path.glob("saved*"))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130 and len(list(tmp_path.glob("saved*"))) == 2


def test_a_rank_that_alone_is_asked_to_end_ends_all_and_is_heard(start, tmp_path: Path) -> None:
    process = start("one is asked")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err.count("stopped by SIGUSR1") == 1 and "rank 1" not in err
    assert gone(tmp_path)


def test_a_rank_that_is_gone_is_noticed(tmp_path: Path) -> None:
    assert launch.one_is_gone(None)  # not known
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "pid").write_text(str(os.getpid()))
    assert not launch.one_is_gone(tmp_path)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "pid").write_text(str(ended.pid))
    assert launch.one_is_gone(tmp_path)


def test_no_rank_outlives_a_killed_launcher(start, tmp_path: Path) -> None:
    process = start("waits")
    ready(tmp_path)
    process.kill()
    process.communicate(timeout=60)
    assert gone(tmp_path)


def test_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert not launch.inside()
    monkeypatch.setenv("RANK", "0")
    assert not launch.inside()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert launch.inside()


def test_who_failed_first() -> None:
    noticed, raised = launch.End(0, 1, 5.2, ""), launch.End(2, 1, 5.1, "")
    stopped, cut = launch.End(1, -signal.SIGTERM, None, ""), launch.End(3, 13, None, "")
    assert launch.first([noticed, stopped, raised]) == raised
    assert launch.first([noticed, stopped, raised, cut]) == cut
    assert launch.first([noticed, stopped]) == noticed
