"""Peers run alternately in processes of their own. The peer here is ASE's Lennard-Jones, in this environment."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from mlff_core.errors import InputError
from mlff_core.models.checkpoint import save_checkpoint
from mlff_core.testing import small_student
from mlff_plugins.benchmark.command import command
from mlff_plugins.benchmark.peers.comparison import AMPLITUDE, compare, swinging_positions, write_systems
from mlff_plugins.benchmark.peers.process import Contestant, PeerError, PeerProcess, our_contestant, read_peers
from mlff_plugins.benchmark.systems import build

LENNARD_JONES = """
import os, sys
import numpy as np
from ase import Atoms
from ase.calculators.lj import LennardJones

print("a word that is no answer")

def prepare(system, arguments):
    parts = [system.system_idx == k for k in range(len(system.cells))]
    def step(positions):
        energies, forces = [], []
        for part, cell, pbc in zip(parts, system.cells, system.pbc):
            atoms = Atoms(system.numbers[part], positions[part], cell=cell, pbc=pbc)
            atoms.calc = LennardJones(sigma=1.0, epsilon=0.01, rc=3.0)
            energies.append(atoms.get_potential_energy())
            forces.append(atoms.get_forces())
        with open(os.environ["TEST_LOG"], "a") as log:
            print(os.environ["TEST_NAME"] if not arguments else arguments[0], file=log)
        return np.array(energies), np.concatenate(forces)
    return step

def describe(arguments):
    return {"threads": os.environ["OMP_NUM_THREADS"], "arguments": arguments}
"""


@pytest.fixture
def peer(tmp_path, monkeypatch):
    """Give a function from (name, source) to a contestant of this environment."""
    monkeypatch.setenv("TEST_LOG", str(tmp_path / "log"))

    def make(name="lj", source=LENNARD_JONES):
        script = tmp_path / f"{name}.py"
        script.write_text(source)
        return Contestant(name, Path(sys.executable), script, (name,))

    return make


def failing(source):
    return f"def describe(arguments):\n    return {{}}\ndef prepare(system, arguments):\n    {source}\n"


def test_a_peer_computes_what_the_calculator_computes_here(peer, tmp_path):
    from ase.calculators.lj import LennardJones

    path = tmp_path / "systems.npz"
    write_systems(path, ["2x22"])
    with PeerProcess(peer(), path) as process:
        answer = process.ask("evaluate", system="2x22", frame=7)
    with np.load(path) as systems:
        positions = systems["2x22/positions"][7]
    for k, atoms in enumerate(build("2x22")):
        atoms.positions = positions[22 * k : 22 * k + 22]
        atoms.calc = LennardJones(sigma=1.0, epsilon=0.01, rc=3.0)
        assert answer["energy"][k] == pytest.approx(atoms.get_potential_energy(), abs=1e-12)
        assert np.allclose(answer["forces"][22 * k : 22 * k + 22], atoms.get_forces(), atol=1e-12)


def test_a_model_of_ours_gives_its_own_forces_through_the_worker(tmp_path):
    student = small_student()
    model = save_checkpoint(tmp_path / "model.pt", student.model, student.card)
    write_systems(tmp_path / "systems.npz", ["water-192"])
    with PeerProcess(our_contestant(str(model), kernel="reference"), tmp_path / "systems.npz") as process:
        answer = process.ask("evaluate", system="water-192", frame=3)
        assert "reference" in process.ask("describe")["kernel"]
    from mlff_core.structures.reading import batch_from_atoms

    (atoms,) = build("water-192")
    with np.load(tmp_path / "systems.npz") as systems:
        atoms.positions = systems["water-192/positions"][3]
    truth = student.predict(batch_from_atoms(atoms))
    largest = float(truth.forces.abs().max())
    assert np.allclose(answer["forces"], truth.forces.numpy(), rtol=0, atol=1e-5 * largest)
    assert answer["energy"] == pytest.approx(truth.energy.tolist(), rel=1e-6)


def test_contestants_take_turns(peer, tmp_path):
    comparison = compare([peer("a"), peer("b"), peer("c")], ["22"], n_turns=2, memory=False)
    log = (tmp_path / "log").read_text().split()
    turns = [name for k, name in enumerate(log) if k == 0 or log[k - 1] != name]
    # First each gets warm by itself, then the turns.
    assert turns == ["a", "b", "c"] * 3
    assert [row.peer for row in comparison.rows] == ["a", "b", "c"]
    for row in comparison.rows:
        assert row.n_atoms == 22
        assert 0 < row.cpu_ms_min <= row.cpu_ms_median
        assert 0 < row.wall_ms_min <= row.wall_ms_median
        assert row.ratio > 0
        assert log.count(row.peer) >= row.n_steps + 3
    assert comparison.rows[0].ratio == 1.0
    assert comparison.about["a"]["threads"] == "1"


def test_no_step_sees_the_positions_of_the_one_before():
    frames = swinging_positions(build("49")[0].positions)
    for before, after in zip(frames, np.roll(frames, -1, axis=0), strict=True):
        moved = np.abs(after - before)
        assert moved.max() > 1e-3
        # Also from the last to the first.
        assert moved.max() < 2 * np.pi * AMPLITUDE / len(frames) * 1.01


def test_memory_is_that_of_a_fresh_process(peer):
    hungry = LENNARD_JONES.replace(
        "    parts =", "    hoard = np.ones(2**26 // 8 * len(system.numbers) // 22)\n    parts ="
    )
    comparison = compare([peer("lean"), peer("hungry", hungry)], ["22", "2x22"], n_turns=1)
    assert comparison.memory_system == "2x22"
    peak, idle = comparison.peak_memory_mib, comparison.idle_memory_mib
    # 128 MiB for the larger system; 64 more would be there if the smaller one had come first.
    assert 120 < peak["hungry"] - idle["hungry"] - (peak["lean"] - idle["lean"]) < 160


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise ValueError('out of tea')", "ValueError: out of tea"),
        ("import os; os._exit(3)", "ended with status 3"),
        ("return lambda positions: (0.0, positions[:1])", "forces are not finite numbers of shape"),
        ("return lambda positions: (0.0, positions * float('nan'))", "forces are not finite numbers of shape"),
    ],
)
def test_a_peer_that_fails_is_a_row_with_the_reason_and_the_others_go_on(peer, source, reason):
    rows = compare([peer("good"), peer("bad", failing(source))], ["22"], n_turns=1, memory=False).rows
    assert rows[0].cpu_ms_median > 0
    assert rows[1].cpu_ms_median is None
    assert reason in rows[1].message


def test_a_peer_that_cannot_be_loaded_says_why(peer):
    comparison = compare([peer("good"), peer("bad", "import nothing_of_this_name")], ["22"], n_turns=1)
    assert "nothing_of_this_name" in comparison.rows[1].message
    assert comparison.rows[0].cpu_ms_median > 0
    assert list(comparison.peak_memory_mib) == ["good"]


def test_a_peer_that_hangs_is_given_up(peer, tmp_path):
    write_systems(tmp_path / "systems.npz", ["22"])
    script = failing("import time; time.sleep(1000)")
    with (
        PeerProcess(peer("slow", script), tmp_path / "systems.npz", patience_s=5) as process,
        pytest.raises(PeerError, match="slow: no answer in 5 s"),
    ):
        process.ask("time", system="22", n_steps=1)


def test_a_folder_of_peers_is_read_and_what_is_wrong_with_it_is_said(peer, tmp_path):
    script = peer().script
    for name, content in (
        ("good", {"python": sys.executable, "script": str(script)}),
        ("no-script", {"python": sys.executable, "script": "absent.py"}),
        ("no-key", {"python": sys.executable}),
    ):
        (tmp_path / "envs" / name).mkdir(parents=True)
        (tmp_path / "envs" / name / "peer.json").write_text(json.dumps(content))
    (contestant,) = read_peers(["good"], tmp_path / "envs")
    assert (contestant.name, contestant.script) == ("good", script)
    with pytest.raises(InputError, match=r"absent\.py, which does not exist"):
        read_peers(["no-script"], tmp_path / "envs")
    with pytest.raises(InputError, match="must be JSON with"):
        read_peers(["no-key"], tmp_path / "envs")
    with pytest.raises(InputError, match=r"no peer 'other'.* there are good, no-key, no-script"):
        read_peers(["other"], tmp_path / "envs")


def test_the_command_compares_and_writes_json_with_machine_versions_and_commit(peer, tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_NAME", "lj")
    folder = tmp_path / "envs" / "lj"
    folder.mkdir(parents=True)
    (folder / "peer.json").write_text(json.dumps({"python": sys.executable, "script": str(peer().script)}))
    student = small_student()
    model = save_checkpoint(tmp_path / "model.pt", student.model, student.card)
    arguments = [str(model), "--peers", "lj", "--peer-envs", str(folder.parent), "--systems", "22,2x22"]
    done = CliRunner().invoke(command, [*arguments, "--repeats", "1", "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    content = json.loads(done.stdout)
    assert [(row["system"], row["peer"]) for row in content["rows"]] == [
        ("22", "mlff-hub"), ("22", "lj"), ("2x22", "mlff-hub"), ("2x22", "lj"),
    ]  # fmt: skip
    assert set(content["peak_memory_mib"]) == {"mlff-hub", "lj"}
    assert content["machine"]["versions"]["torch"]
    assert content["about"]["mlff-hub"]["n_threads"] == 1
    assert "commit" in content
    table = CliRunner().invoke(command, [*arguments, "--repeats", "1", "--no-memory"], catch_exceptions=False)
    assert "lj" in table.stdout
    assert "peak memory" not in table.stdout


def test_peers_want_the_folder_of_their_environments():
    done = CliRunner().invoke(command, ["model", "--peers", "lj"])
    assert done.exit_code == 2
    assert "--peer-envs" in done.output


def test_python_path_does_not_reach_a_peer(peer, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.fspath(tmp_path))
    source = failing("pass").replace("return {}", "import os; return {'path': os.environ.get('PYTHONPATH')}")
    write_systems(tmp_path / "systems.npz", ["22"])
    with PeerProcess(peer("p", source), tmp_path / "systems.npz") as process:
        assert process.ask("describe") == {"path": None}
