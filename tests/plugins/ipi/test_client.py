"""Our end of the socket, against what may come from the other."""

import socket
import threading
import time

import numpy as np
import pytest
import torch

from mlff_core.errors import UnsupportedError
from mlff_core.testing import PairPotential, structures
from mlff_plugins.ipi.client import Address, Client, connect
from mlff_plugins.ipi.driver import Driver
from mlff_plugins.ipi.protocol import IPIError, header


def driver(atoms=None):
    atoms = structures.ethanol() if atoms is None else atoms
    return Driver(PairPotential(dtype=torch.float64), structures.to_batch(atoms))


def served(sent, n_atoms=9):
    """Send bytes, end the connection, and return what the client answered."""
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(sent)
        theirs.shutdown(socket.SHUT_WR)
        theirs.settimeout(10)
        computing = driver()
        try:
            Client(ours, computing, n_atoms).serve()
        finally:
            answer = b"".join(iter(lambda: theirs.recv(4096), b""))
            served.answer = answer
    return answer


def init(text=""):
    return header("INIT") + np.int32(7).tobytes() + np.int32(len(text)).tobytes() + text.encode()


def posdata(n_atoms=9):
    numbers = np.zeros(18)
    return header("POSDATA") + numbers.tobytes() + np.int32(n_atoms).tobytes() + np.zeros(3 * n_atoms).tobytes()


def test_states_follow_what_has_come():
    status = header("STATUS")
    assert served(status + init(" batch_size:2 ") + status + header("EXIT")) == header("NEEDINIT") + header("READY")


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"", "without EXIT"),
        (header("STATUS"), "without EXIT"),
        (b"STAT", "header of 12 bytes"),
        (b"GET / HTTP/1", "unknown header 'GET / HTTP/1'"),
        (b"\xff" * 12, "unknown header"),
        (header("GETFORCE"), "before POSDATA"),
        (init() + header("POSDATA") + bytes(20), "ended inside POSDATA: 144 bytes were wanted, 20 came"),
        (init() + posdata(12), "sends 12 atoms, but the template has 9"),
        (init() + posdata(9)[:-8], "ended inside POSDATA"),
        (header("INIT") + np.int32([0, -5]).tobytes(), "text of -5 bytes"),
        (header("INIT") + np.int32([0, 50]).tobytes() + b"short", "ended inside INIT"),
    ],
)
def test_what_is_no_protocol_ends_the_client_with_words(sent, words):
    begun = time.process_time()
    with pytest.raises(IPIError) as error:
        served(sent)
    assert words in str(error.value)
    # It does not spin at an end.
    assert time.process_time() - begun < 1


def test_a_structure_that_the_model_refuses_is_named():
    with pytest.raises(Exception, match=r"overlap.*last INIT id 7") as error:
        served(init() + posdata() + header("GETFORCE"))
    assert type(error.value).__name__ == "InputError"
    assert served.answer == b""


def test_one_reply_is_one_packet(monkeypatch):
    ours, theirs = socket.socketpair()
    atoms = structures.ethanol()
    sends = []

    class Watched:
        def __getattr__(self, name):
            return getattr(ours, name)

        def sendall(self, data):
            sends.append(data[:12])
            ours.sendall(data)

    thread = threading.Thread(target=Client(Watched(), driver(atoms), 9).serve, daemon=True)
    thread.start()
    with theirs:
        message = header("POSDATA") + (np.eye(3) * 50).tobytes() * 2 + np.int32(9).tobytes()
        message += (atoms.positions / 0.529177).tobytes()
        theirs.sendall(init() + message + header("GETFORCE") + header("EXIT"))
        thread.join(20)
    assert sends == [header("FORCEREADY")]


def test_nobody_at_the_address_is_said_after_a_bounded_wait(tmp_path):
    begun = time.monotonic()
    with pytest.raises(IPIError, match=r"within 0.3 s: there is no such socket"):
        connect(Address.unix(str(tmp_path / "absent")), wait_s=0.3)
    assert 0.3 <= time.monotonic() - begun < 5


def test_a_stale_socket_is_said_to_be_one(tmp_path):
    path = str(tmp_path / "stale")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)
    with pytest.raises(IPIError, match="delete the file"):
        connect(Address.unix(path), wait_s=0.1)


def test_a_server_that_starts_late_is_found(tmp_path):
    path, servers = str(tmp_path / "late"), []

    def listen():
        time.sleep(0.4)
        servers.append(socket.socket(socket.AF_UNIX))
        servers[0].bind(path)
        time.sleep(0.2)
        servers[0].listen()

    thread = threading.Thread(target=listen)
    thread.start()
    connect(Address.unix(path), wait_s=20).close()
    thread.join()
    servers[0].close()


def test_tcp_has_no_delay_and_a_host_that_cannot_be_is_refused_at_once():
    with socket.create_server(("127.0.0.1", 0)) as server:
        with connect(Address(host="127.0.0.1", port=server.getsockname()[1])) as connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert connection.gettimeout() is None
        server.accept()[0].close()


def test_a_model_without_stress_is_refused_for_a_crystal():
    class NoStress(PairPotential):
        supports = frozenset({"energy", "forces"})

    Driver(NoStress(), structures.to_batch(structures.ethanol()))
    with pytest.raises(UnsupportedError, match="stress"):
        Driver(NoStress(), structures.to_batch(structures.triclinic_crystal()))


def test_parts_of_a_batch_give_what_the_whole_gives():
    from mlff_plugins.ipi.protocol import Structures

    atoms = structures.triclinic_crystal()
    random = np.random.RandomState(2)
    positions = np.array([atoms.positions + random.normal(scale=0.02, size=(12, 3)) for _ in range(5)]) / 0.529177
    cells = np.repeat(np.asarray(atoms.cell).T[None] / 0.529177, 5, axis=0)
    batch = structures.to_batch(atoms)
    found = [
        Driver(PairPotential(dtype=torch.float64), batch, size)(Structures(cells, positions)) for size in (None, 2)
    ]
    for name in ("energies", "forces", "virials"):
        assert np.allclose(getattr(found[0], name), getattr(found[1], name), rtol=0, atol=1e-12)
    assert len(found[1].extras) == 5


def test_the_virial_of_a_molecule_is_the_slope_under_strain():
    from mlff_core.units import EV_PER_HARTREE
    from mlff_plugins.ipi.protocol import Structures

    atoms, step = structures.ethanol(), 1e-5
    computing, cell = driver(atoms), np.eye(3)[None] * 50
    virial = computing(Structures(cell, atoms.positions[None] / 0.529177210544)).virials[0]
    for i, j in ((0, 0), (0, 2), (2, 1)):
        energies = []
        for sign in (1, -1):
            strained = atoms.positions.copy()
            strained[:, i] += sign * step * atoms.positions[:, j]
            energies.append(computing(Structures(cell, strained[None] / 0.529177210544)).energies[0])
        slope = (energies[0] - energies[1]) / (2 * step)
        assert virial[i, j] == pytest.approx(-slope, abs=1e-6 * EV_PER_HARTREE)
