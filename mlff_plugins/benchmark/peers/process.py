"""A peer's process, and the folder with the information to start it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from mlff_core.errors import InputError, MlffError

HERE = Path(__file__).parent
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class PeerError(MlffError):
    """A peer cannot be started, has ended, or reports an error."""


@dataclass(frozen=True)
class Contestant:
    """A program to time.

    Parameters
    ----------
    name
        Its name in the table.
    python
        Interpreter of its environment.
    script
        Script with its two functions, see :mod:`mlff_plugins.benchmark.peers`.
    arguments
        Arguments of the script.
    n_threads
        Number of threads.
    """

    name: str
    python: Path
    script: Path
    arguments: tuple[str, ...] = ()
    n_threads: int = 1


def our_contestant(
    model: str, *, name: str = "mlff-hub", kernel: str = "auto", dtype: str = "float32", n_threads: int = 1
) -> Contestant:
    """Return the contestant for a model of this package, by name or path."""
    return Contestant(name, Path(sys.executable), HERE / "own.py", (model, kernel, dtype), n_threads)


def read_peers(names: Sequence[str], folder: Path) -> list[Contestant]:
    """Return the peers in a folder, each from the subfolder of its name.

    Raises
    ------
    InputError
        A peer has no subfolder with a valid ``peer.json`` and the files it names.
    """
    there = sorted(path.parent.name for path in folder.glob("*/peer.json"))
    peers = []
    for name in names:
        path = folder / name / "peer.json"
        if name not in there:
            raise InputError(
                f"there is no peer {name!r} in {folder} ({path} is missing); there are {', '.join(there) or 'none'}. "
                "benchmarks/peers/make_envs.py of the source makes them"
            )
        try:
            content = json.loads(path.read_text())
            # Not resolved: the path of the interpreter is a link and identifies the virtual environment.
            python, script = (Path(os.path.abspath(folder / name / content[key])) for key in ("python", "script"))  # noqa: PTH100
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f'{path} must be JSON with "python" and "script": {error!r}') from error
        for file in (python, script):
            if not file.exists():
                raise InputError(f"{path} names {file}, which does not exist; make the peer's environment again")
        peers.append(Contestant(name, python, script))
    return peers


class PeerProcess:
    """A worker that answers requests; a context manager that ends it.

    Parameters
    ----------
    contestant
        The program to run.
    systems
        File of systems, by :func:`mlff_plugins.benchmark.peers.comparison.write_systems`.
    patience_s
        Longest time to wait for an answer, s.

    Raises
    ------
    PeerError
        The peer cannot be loaded.
    """

    def __init__(self, contestant: Contestant, systems: Path, patience_s: float = 600.0) -> None:
        self.name = contestant.name
        self._patience_s = patience_s
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        environment = dict(os.environ)
        # PYTHONPATH would put packages of this environment into the peer's.
        environment.pop("PYTHONPATH", None)
        environment.update(dict.fromkeys(THREAD_VARIABLES, str(contestant.n_threads)))
        command = (contestant.python, HERE / "worker.py", contestant.script, systems, *contestant.arguments)
        self._process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, env=environment, text=True,
        )  # fmt: skip
        try:
            self._read()
        except PeerError:
            self.close()
            raise

    def ask(self, do: str, **details: Any) -> dict[str, Any]:
        """Return the answer to a request; see :mod:`mlff_plugins.benchmark.peers.worker`.

        Raises
        ------
        PeerError
            The peer failed, ended, or took too long.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **details}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # The process has ended; reading its answer gives the reason.
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        timer = threading.Timer(self._patience_s, self._process.kill)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            late = not timer.is_alive()
            timer.cancel()
        if not line:
            status = self._process.wait()
            self._errors.seek(0)
            lines = self._errors.read().strip().splitlines()
            reason = f"no answer in {self._patience_s:g} s" if late else f"ended with status {status}"
            raise PeerError(f"{self.name}: {reason}{': ' + lines[-1] if lines and not late else ''}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeerError(f"{self.name}: {answer['error']}")
        return answer

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def __enter__(self) -> PeerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
