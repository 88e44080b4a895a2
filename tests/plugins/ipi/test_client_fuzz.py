"""A server on the loopback interface that sends damaged messages: the client ends with one of our errors, in time."""

import socket
import threading
import time

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlff_core.errors import MlffError
from mlff_plugins.ipi.client import Address, Client, connect
from mlff_plugins.ipi.protocol import Results, header

N_ATOMS = 3
POSITIONS = np.arange(3.0 * N_ATOMS)
INIT = header("INIT") + np.int32([7, 0]).tobytes()
POSDATA = header("POSDATA") + np.eye(3).tobytes() * 2 + np.int32(N_ATOMS).tobytes() + POSITIONS.tobytes()
MESSAGES = [header("STATUS"), INIT, POSDATA, header("GETFORCE"), header("EXIT"), header("NOTHING")]
MESSAGES += [
    header("INIT") + np.int32([0, len(text)]).tobytes() + text
    for text in (b"batch_size : 2", b"batch_size : 100000000000", b"batch_size : " + b"9" * 5000, b"batch_size : -1")
]
MESSAGES += [
    header("INIT") + np.int32([0, -1]).tobytes(),
    header("INIT") + np.int32([0, 2**31 - 1]).tobytes(),
    header("POSDATA") + bytes(144) + np.int32(2**31 - 1).tobytes(),
    POSDATA.replace(POSITIONS.tobytes(), np.full(3 * N_ATOMS, np.nan).tobytes()),
]


def evaluate(structures):
    """Return forces that pull each atom to the origin."""
    results = Results(*structures.positions.shape[:2])
    results.energies[:] = 0.5 * (structures.positions**2).sum(axis=(1, 2))
    results.forces[:] = -structures.positions
    results.virials[:] = 0.0
    return results


def serve(sent):
    """Send bytes from a server, close, and return what the client did: its error or None."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def send():
            connection, _ = server.accept()
            with connection:
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(5)
                while connection.recv(65536):
                    pass

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        connection = connect(Address(host="127.0.0.1", port=server.getsockname()[1]), 5.0)
        try:
            Client(connection, evaluate, N_ATOMS, 5.0).serve()
        except MlffError as error:
            return error
        finally:
            thread.join(10)
            assert not thread.is_alive()
    return None


@settings(max_examples=80, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    messages=st.lists(st.sampled_from(MESSAGES), max_size=6),
    changes=st.lists(st.tuples(st.integers(0), st.binary(max_size=9)), max_size=2),
    cut=st.integers(0, 400),
)
def test_damaged_messages_end_the_client_with_one_of_our_errors(messages, changes, cut):
    sent = bytearray(b"".join(messages))
    for place, bits in changes:
        if sent:
            place %= len(sent)
            sent[place : place + len(bits)] = bits
    if cut % 2:
        del sent[cut:]
    began = time.monotonic()
    error = serve(bytes(sent))
    assert time.monotonic() - began < 10
    assert error is not None or header("EXIT") in sent  # it ends in silence only when it is asked to


def test_whole_messages_are_answered():
    assert serve(INIT + POSDATA + header("STATUS") + header("GETFORCE") + header("EXIT")) is None
