"""The client's end of the socket, with all kinds of data from the other end.

Over 300 lines, in one file because its tests share the other end of the socket.
"""

import json
import socket
import threading
import time

import numpy as np
import pytest
import torch

from mlff_core.errors import UnsupportedError
from mlff_core.testing import PairPotential, small_student, structures
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


def posdata(n_atoms=9, positions=None):
    positions = np.zeros(3 * n_atoms) if positions is None else positions
    return header("POSDATA") + np.zeros(18).tobytes() + np.int32(n_atoms).tobytes() + positions.tobytes()


def test_states_follow_what_has_come():
    status = header("STATUS")
    assert served(status + init(" batch_size:2 ") + status + header("EXIT")) == header("NEEDINIT") + header("READY")


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"", "without EXIT"),
        (header("STATUS"), "without EXIT"),
        (b"STAT", "header of 12 bytes"),
        (b"GET / HTTP/1", "unknown header 'GET / HTTP/1'"),
        (b"\xff" * 12, "unknown header"),
        (header("GETFORCE"), "before POSDATA"),
        (init() + header("POSDATA") + bytes(20), "ended inside POSDATA: 148 bytes were expected, 20 came"),
        (init() + posdata(12), "sends 12 atoms, but the template has 9"),
        (init() + posdata(9)[:-8], "ended inside POSDATA"),
        (header("INIT") + np.int32([0, -5]).tobytes(), "text of -5 bytes"),
        (header("INIT") + np.int32([0, 50]).tobytes() + b"short", "ended inside INIT"),
    ],
)
def test_what_is_not_the_protocol_ends_the_client_with_a_message(sent, message):
    # That it returns at all shows that it does not spin at an end.
    with pytest.raises(IPIError) as error:
        served(sent)
    assert message in str(error.value)


def test_a_silent_server_is_waited_for_a_bounded_time():
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(init() + b"POSD")
        with pytest.raises(IPIError, match=r"no data was sent or received .* for 0.2 s .*last INIT id 7.*--idle-s"):
            Client(ours, driver(), 9, idle_s=0.2).serve()
        assert theirs.recv(1) == b""


def test_a_reply_that_comes_after_exit_says_that_the_driver_was_dropped():
    ours, theirs = socket.socketpair()

    def dropped_meanwhile(structures):
        theirs.sendall(header("EXIT"))
        theirs.close()
        return driver()(structures)

    theirs.sendall(init() + posdata(positions=structures.ethanol().positions / 0.529177) + header("GETFORCE"))
    with pytest.raises(IPIError, match=r"while a structure was being computed .*<timeout>"):
        Client(ours, dropped_meanwhile, 9).serve()


def test_a_structure_that_the_model_refuses_is_named():
    with pytest.raises(Exception, match=r"overlap.*last INIT id 7") as error:
        served(init() + posdata() + header("GETFORCE"))
    assert type(error.value).__name__ == "OverlapError"
    assert served.answer == b""


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_positions_and_cells_that_are_no_numbers_are_refused_before_the_model_sees_them(bad):
    from mlff_core.errors import InputError
    from mlff_plugins.ipi.protocol import Structures

    atoms = structures.triclinic_crystal()
    cell, positions = np.asarray(atoms.cell).T[None] / 0.529177, atoms.positions[None] / 0.529177
    computing = driver(atoms)
    for place in np.ndindex(3, 3):
        wrong = cell.copy()
        wrong[0][place] = bad
        with pytest.raises(InputError, match="cell must be finite"):
            computing(Structures(wrong, positions))
    wrong = positions.copy()
    wrong[0, 7, 1] = bad
    with pytest.raises(InputError, match="atom 7 is at"):
        computing(Structures(cell, wrong))
    assert np.isfinite(computing(Structures(cell, positions)).forces).all()


@pytest.mark.parametrize("name", ["energies", "forces", "virials"])
def test_a_reply_that_is_no_number_is_not_sent_and_the_place_in_the_batch_is_named(name):
    ours, theirs = socket.socketpair()
    atoms = structures.ethanol()
    message = header("POSDATA") + np.int32(9).tobytes() + np.tile(np.eye(3) * 50, (6, 1)).tobytes()
    message += np.tile(atoms.positions / 0.529177, (3, 1)).tobytes()

    def spoilt(three):
        results = driver(atoms)(three)
        getattr(results, name)[1] = np.nan
        return results

    with theirs:
        theirs.sendall(init("batch_size:3") + message + header("GETFORCE") + header("STATUS"))
        with pytest.raises(IPIError, match=rf"the {name} of structure 2 of 3 .*last INIT id 7"):
            Client(ours, spoilt, 9).serve()
        # Nothing of it was sent, and the end came as an end and not as a reset, since what was pending had been read.
        assert theirs.recv(1) == b""


def test_the_look_at_all_numbers_sees_each_one():
    from mlff_plugins.ipi.protocol import all_finite

    numbers = np.linspace(-1, 1, 30).reshape(2, 5, 3)
    assert all_finite(numbers)
    for place in np.ndindex(numbers.shape):
        for bad in (np.nan, np.inf, -np.inf):
            wrong = numbers.copy()
            wrong[place] = bad
            assert not all_finite(wrong)


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


def test_an_address_without_a_listener_is_an_error_after_a_bounded_wait(tmp_path):
    begun = time.monotonic()
    with pytest.raises(IPIError, match=r"within 0.3 s: there is no such socket"):
        connect(Address.unix(str(tmp_path / "absent")), wait_s=0.3)
    assert 0.3 <= time.monotonic() - begun < 5


def test_a_stale_socket_is_said_to_be_one(tmp_path):
    path = str(tmp_path / "stale")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)
    with pytest.raises(IPIError, match="delete it and start i-PI"):
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


def test_extras_have_the_energy_and_of_several_models_each_ones_energy_forces_and_virial():
    from mlff_core.potentials.ensemble import Calibration, Ensemble
    from mlff_core.units import ANGSTROM_PER_BOHR, EV_PER_HARTREE
    from mlff_plugins.ipi.protocol import Structures

    atoms = structures.triclinic_crystal()
    batch = structures.to_batch(atoms)
    two = Structures(
        np.repeat(np.asarray(atoms.cell).T[None], 2, axis=0) / ANGSTROM_PER_BOHR,
        np.stack([atoms.positions, atoms.positions * 1.01]) / ANGSTROM_PER_BOHR,
    )
    members = [PairPotential(cutoff, dtype=torch.float64) for cutoff in (5.0, 4.0)]
    alone = [Driver(member, batch)(two) for member in members]
    assert [set(json.loads(text)) for text in alone[0].extras] == [{"energy"}] * 2
    assert json.loads(alone[0].extras[1])["energy"] == pytest.approx(alone[0].energies[1] * EV_PER_HARTREE)
    found = Driver(Ensemble(members, Calibration(energy=3.0)), batch)(two)
    for name in ("energies", "forces", "virials"):
        mean = (getattr(alone[0], name) + getattr(alone[1], name)) / 2
        assert np.allclose(getattr(found, name), mean, rtol=0, atol=1e-12)
    for k, text in enumerate(found.extras):
        extra = json.loads(text)
        energies = np.array([one.energies[k] for one in alone])
        assert extra["energy"] == pytest.approx(energies.mean() * EV_PER_HARTREE)
        assert extra["energy_std"] == pytest.approx(3 * energies.std(ddof=1) * EV_PER_HARTREE)
        assert np.allclose(extra["committee_pot"], energies, rtol=0, atol=1e-12)
        forces = [one.forces[k].reshape(-1) for one in alone]
        assert np.allclose(extra["committee_force"], forces, rtol=0, atol=1e-12)
        assert np.allclose(extra["committee_virial"], [one.virials[k] for one in alone], rtol=0, atol=1e-12)


def test_the_fused_kernel_computes_by_default(monkeypatch):
    monkeypatch.delenv("MLFF_KERNEL", raising=False)
    found = Driver(small_student(), structures.to_batch(structures.ethanol()))
    assert found.potential.kernel.name == "cpu"


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


def test_the_virial_of_a_molecule_is_the_strain_derivative():
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
        derivative = (energies[0] - energies[1]) / (2 * step)
        assert virial[i, j] == pytest.approx(-derivative, abs=1e-6 * EV_PER_HARTREE)


def test_single_precision_far_from_the_origin_computes_what_it_does_at_it():
    from mlff_core.testing.reference_potential import PairPotential
    from mlff_plugins.ipi.driver import Driver
    from mlff_plugins.ipi.protocol import Structures

    atoms = structures.ethanol()
    template = structures.to_batch(atoms)
    cells, positions = np.zeros((1, 3, 3)), atoms.positions[None] / 0.529177210903
    near = Driver(PairPotential(), template)(Structures(cells, positions))
    far = Driver(PairPotential(), template)(Structures(cells, positions + 1e6))
    np.testing.assert_allclose(far.forces, near.forces, atol=1e-4)
