"""The program `ftp`: answers requests to end before anything of it is imported, which takes a moment."""

import contextlib
import os
import signal
import sys

STOPPED = 130  # as in ftp.host.signals, which is not imported yet
REQUESTS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")


def end_at_once(number: int, frame: object) -> None:
    """End this process with a word: it holds nothing that could be lost, and Python's traceback helps nobody."""
    by_whom = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
    with contextlib.suppress(OSError):  # nobody may be there to read it
        os.write(2, f"ftp: stopped{by_whom}\n".encode())
    os._exit(STOPPED)


def answer_requests() -> None:
    """Answer Ctrl-C and its like by `end_at_once` until `ftp.cli.main` answers them itself, and again after it."""
    for name in REQUESTS:
        number = getattr(signal, name, None)
        # one that is ignored stays ignored: nohup asks for that, and a shell for its background jobs
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end_at_once)


def main() -> None:
    """Run the command that the command line names, and end with its status."""
    answer_requests()
    from ftp.cli.main import main as run_command

    run_command(sys.argv[1:])
