"""The driver's end of i-PI's socket: connect, then answer until i-PI sends EXIT."""

from __future__ import annotations

import contextlib
import io
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlff_core.errors import MlffError
from mlff_plugins.ipi.protocol import (
    IPIError,
    PositionsReader,
    Results,
    Stream,
    Structures,
    all_finite,
    header,
    pack_results,
    read_header,
    read_init,
    refuse_shared_memory,
)

UNIX_PREFIX = "/tmp/ipi_"
"""Default prefix of i-PI's sockets; its option -S changes it."""

DEFAULT_WAIT_S = 60.0
DEFAULT_IDLE_S = 3600.0
"""Long enough to wait for slow drivers of other structures in the same step."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 1.0
DRAIN_S = 0.2
SHORTEST_IDLE_S, LONGEST_IDLE_S = 1e-6, 1e9
"""Shortest timeout for the kernel, to which zero means no limit."""
BUFFER_BYTES = 1 << 16
NEEDINIT, READY, HAVEDATA = header("NEEDINIT"), header("READY"), header("HAVEDATA")

Evaluate = Callable[[Structures], Results]


@dataclass(frozen=True)
class Address:
    """Address where i-PI listens: the path of a UNIX socket, or host and port.

    Parameters
    ----------
    path
        Path of a UNIX socket; None for TCP.
    host, port
        Host and port of a TCP socket.
    """

    path: str | None = None
    host: str = "localhost"
    port: int = 65535

    @classmethod
    def unix(cls, name: str, prefix: str = UNIX_PREFIX) -> Address:
        """Return the address of i-PI's ``<address>NAME</address>``; a name with a slash is a path."""
        return cls(path=name if "/" in name else prefix + name)

    def __str__(self) -> str:
        return f"the UNIX socket {self.path}" if self.path is not None else f"{self.host}:{self.port}"


def connect(address: Address, wait_s: float = DEFAULT_WAIT_S) -> socket.socket:
    """Return a socket connected to i-PI, waiting until it listens.

    Parameters
    ----------
    address
        Address where i-PI listens.
    wait_s
        Longest wait, s.

    Raises
    ------
    IPIError
        No process listened in that time, or the address is not valid.
    """
    deadline, pause = time.monotonic() + wait_s, FIRST_PAUSE_S
    while True:
        try:
            return _connect_once(address)
        except (FileNotFoundError, ConnectionRefusedError, BlockingIOError) as error:  # noqa: PERF203 - it sleeps anyway
            # i-PI listens a second or more after its start, so a missing or stale file may still be replaced.
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise IPIError(f"no i-PI at {address} within {wait_s:g} s: {_reason(address, error)}") from error
            time.sleep(min(pause, remaining))
            pause = min(1.5 * pause, LONGEST_PAUSE_S)
        except OSError as error:
            raise IPIError(f"cannot connect to {address}: {error}; check the address and the port") from error


class Client:
    """Answers i-PI's messages with the results of a function.

    Headers are answered in any order. A structure is computed after the header that follows its positions was read:
    i-PI waits forever for a driver that ended with a message unread, but asks another one if the message was read.

    Parameters
    ----------
    connection
        A connected socket, which :meth:`serve` closes.
    evaluate
        Function that computes the structures of one message.
    n_atoms
        Of each structure.
    idle_s
        Longest time without any data sent or received by i-PI, s.
    """

    def __init__(
        self, connection: socket.socket, evaluate: Evaluate, n_atoms: int, idle_s: float = DEFAULT_IDLE_S
    ) -> None:
        self.n_evaluations = 0
        self._connection = connection
        self._evaluate = evaluate
        self.wait_at_most(idle_s)
        self._init_id: int | None = None
        self._positions = PositionsReader(1, n_atoms)
        self._structures: Structures | None = None
        self._reply: bytes | None = None

    def wait_at_most(self, idle_s: float) -> None:
        """Set the longest time without any data sent or received by i-PI, s."""
        self._idle_s = idle_s
        # A timeout of the kernel; Python's own would add one system call to each read and write.
        whole, part = divmod(min(max(idle_s, SHORTEST_IDLE_S), LONGEST_IDLE_S), 1.0)
        time_of_kernel = struct.pack("@ll", int(whole), int(1e6 * part))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._connection.setsockopt(socket.SOL_SOCKET, option, time_of_kernel)

    def serve(self) -> None:
        """Answer until EXIT, then close the connection.

        Raises
        ------
        IPIError
            The connection ended without EXIT, i-PI sent nothing for too long, or a message does not follow the
            protocol.
        MlffError
            The model refuses a structure, or its energy, forces or virial are not finite; the message says which.
        """
        self._connection.settimeout(None)
        try:
            with io.BufferedReader(_Incoming(self._connection), BUFFER_BYTES) as stream:
                while True:
                    header = read_header(stream)
                    if header is None:
                        raise IPIError(self._ended())
                    if header == "EXIT":
                        return
                    self._answer(header, stream)
        except (TimeoutError, BlockingIOError) as error:
            raise IPIError(
                f"no data was sent or received by i-PI for {self._idle_s:g} s "
                f"({self._place()}): it hangs or waits for another driver; stop it, or give a longer --idle-s"
            ) from error
        except (ConnectionResetError, BrokenPipeError) as error:
            raise IPIError(self._ended()) from error
        finally:
            self._close()

    def _answer(self, header: str, stream: Stream) -> None:
        if header == "STATUS":
            self._connection.sendall(self._status())
        elif header == "INIT":
            init = read_init(stream)
            self._init_id = init.id
            if init.batch_size != self._positions.batch_size:
                self._positions = PositionsReader(init.batch_size, self._positions.n_atoms)
        elif header == "POSDATA":
            if self.n_evaluations == 0:
                refuse_shared_memory(stream)
            self._structures = self._positions.read(stream)
            self._reply = None
        elif header == "GETFORCE":
            self._connection.sendall(self._computed())
            self._structures = self._reply = None
        else:
            raise IPIError(
                f"unknown header {header!r}; known are STATUS, INIT, POSDATA, GETFORCE and EXIT, so the other end does "
                "not speak i-PI's protocol"
            )

    def _status(self) -> bytes:
        if self._structures is not None:
            self._computed()
            return HAVEDATA
        return READY if self._init_id is not None else NEEDINIT

    def _computed(self) -> bytes:
        if self._reply is None:
            if self._structures is None:
                raise IPIError("GETFORCE came before POSDATA; the other end does not speak i-PI's protocol")
            try:
                results = self._evaluate(self._structures)
            except MlffError as error:
                raise type(error)(f"{error} ({self._place()})") from error
            self._check_finite(results)
            self.n_evaluations += len(results.energies)
            self._reply = pack_results(results)
        return self._reply

    def _check_finite(self, results: Results) -> None:
        # i-PI accepts NaN without an error and writes it into the trajectory.
        if all_finite(results.numbers):
            return
        for name in ("energies", "forces", "virials"):
            values = getattr(results, name)
            good = np.isfinite(values).reshape(len(values), -1).all(axis=1)
            if not good.all():
                place = int((~good).argmax())
                raise IPIError(
                    f"the {name} of structure {place + 1} of {len(values)} in the batch are not finite "
                    f"({self._place()}); shorten the time step, or check the structure and the model"
                )

    def _place(self) -> str:
        known = "no INIT yet" if self._init_id is None else f"last INIT id {self._init_id}"
        return f"{known}, after {self.n_evaluations} structures"

    def _ended(self) -> str:
        # A driver that is dropped for being slow is sent EXIT, but reads it only after its late reply.
        pending = b""
        with contextlib.suppress(OSError):
            self._connection.settimeout(DRAIN_S)
            pending = self._connection.recv(BUFFER_BYTES)
        if b"EXIT" in pending:
            return (
                f"i-PI ended the connection while a structure was being computed ({self._place()}): it was stopped, or "
                "dropped this driver for taking longer than the <timeout> of its input"
            )
        return (
            f"i-PI closed the connection without EXIT ({self._place()}): it was killed, or dropped this driver for "
            "taking longer than the <timeout> of its input"
        )

    def _close(self) -> None:
        # Closing a socket with unread bytes resets the connection, which would end i-PI's thread that serves drivers.
        with contextlib.suppress(OSError):
            self._connection.settimeout(DRAIN_S)
            self._connection.shutdown(socket.SHUT_WR)
            deadline = time.monotonic() + 5 * DRAIN_S
            while time.monotonic() < deadline and self._connection.recv(BUFFER_BYTES):
                pass
        self._connection.close()


class _Incoming(io.RawIOBase):
    """The data received over a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        try:
            return self._connection.recv_into(target)
        except BlockingIOError as error:
            # A buffered reader returns None when the kernel's timeout is over.
            raise TimeoutError from error


def _connect_once(address: Address) -> socket.socket:
    if address.path is None:
        connection = socket.create_connection((address.host, address.port))
        # Nagle's algorithm would delay each reply, and i-PI waits for it.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(None)
        return connection
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(address.path)
    except OSError:
        connection.close()
        raise
    return connection


def _reason(address: Address, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such socket; start i-PI, and compare <address> in its input, and its option -S"
    if isinstance(error, BlockingIOError):
        return "it listens but accepts no more drivers; raise <slots> in its input"
    if address.path is not None:
        return "no process listens there: a killed i-PI left the file; delete it and start i-PI"
    return "no process listens there; start i-PI, and compare <address> and <port> in its input"
