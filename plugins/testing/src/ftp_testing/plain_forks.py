"""`ftp.host.fresh.run_code` in a second: one process has imported Transformers and PEFT, no part of ftp, and is forked for each call.

For test suites with many proofs of a saved model, each of which would pay for these imports again:

    monkeypatch.setattr("ftp.host.fresh.run_code", PlainPython().run_code)

On systems that cannot fork each call is a process of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ftp.host import quiet
from ftp.host.fresh import run_code as run_in_new_process

PRELOADED = ("torch", "safetensors.torch", "transformers", "transformers.modeling_utils", "transformers.models.auto", "peft")

SERVER = """
import importlib, json, os, sys, traceback

for name in sys.argv[1:]:
    importlib.import_module(name)
assert "ftp" not in sys.modules


def run(call):
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for stream, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(os.path.join(call["output"], name), os.O_WRONLY | os.O_CREAT), stream)
    os.chdir(call["folder"])
    os.environ.clear()
    os.environ.update(call["environment"])
    sys.argv = ["-c", *call["arguments"]]
    exec(compile(call["code"], "<string>", "exec"), {"__name__": "__main__"})


for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            run(json.loads(line))
            status = 0
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)  # the forked process has nothing to tidy up
    os.write(1, b"%d\\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""

READ_AT_IMPORT = ("HF_", "TRANSFORMERS_", "PYTHON", "CUDA_", "OMP_")
"""Beginnings of the names of variables that Python and the libraries read once."""

Variables = tuple[tuple[str, str], ...]


class PlainPython:
    """The process that is forked, started by the first call in the environment of that call.

    Args:
        preloaded: modules that it imports.
    """

    def __init__(self, preloaded: Sequence[str] = PRELOADED) -> None:
        self._preloaded = preloaded
        self._server: subprocess.Popen[str] | None = None
        self._environment: Variables = ()

    def run_code(
        self, code: str, arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """What `ftp.host.fresh.run_code` does; in a process of its own where a fork would see another environment."""
        if self._server is None:
            self._start(environment)
        if self._server is None or _read_once(environment) != self._environment:
            return run_in_new_process(code, arguments, folder=folder, environment=environment, timeout=timeout)
        assert self._server.stdin is not None and self._server.stdout is not None
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fork-") as output:
            call = {"code": code, "arguments": list(arguments), "folder": str(folder), "environment": dict(environment),
                    "output": output}
            self._server.stdin.write(json.dumps(call) + "\n")
            self._server.stdin.flush()
            if not select.select([self._server.stdout], [], [], timeout)[0]:
                self.stop()
                raise subprocess.TimeoutExpired(["python", "-c", code], timeout)
            answer = self._server.stdout.readline()
            if not answer:
                self.stop()
                raise OSError("the process that is forked has ended")
            printed = {name: Path(output, name).read_text(errors="replace") for name in ("stdout", "stderr")}
        return subprocess.CompletedProcess(["python", "-c", code], int(answer), **printed)

    def _start(self, environment: Mapping[str, str]) -> None:
        if not hasattr(os, "fork"):
            return
        self._environment = _read_once(environment)
        self._server = subprocess.Popen(
            [sys.executable, "-P", "-c", SERVER, *self._preloaded], env=dict(environment), text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
        atexit.register(self.stop)

    def stop(self) -> None:
        """End the process with all that it forked."""
        if self._server is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait()
        self._server = None


def _read_once(environment: Mapping[str, str]) -> Variables:
    """The variables that a fork would not see changed, but for those by which ftp keeps libraries quiet from a run on."""
    variables = []
    for name, value in sorted(environment.items()):
        if name.startswith(READ_AT_IMPORT) and name not in quiet.ENVIRONMENT:
            variables.append((name, value))
    return tuple(variables)
