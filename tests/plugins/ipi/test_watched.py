"""A committee that is watched while the real i-PI moves atoms: its deviations in the extras, a warning, an end."""

import numpy as np
import pytest
import torch

pytest.importorskip("ipi")

from mlff_core.errors import InputError, UncertaintyError, UnsupportedError
from mlff_core.models.checkpoint import save_checkpoint
from mlff_core.models.committee import write_committee
from mlff_core.models.opening import load
from mlff_core.potentials.ensemble import Calibration
from mlff_core.potentials.watched import UncertaintyWarning, WatchedPotential
from mlff_core.testing import small_student, structures
from mlff_core.units import EV_PER_HARTREE
from mlff_plugins.ipi import PES_FILE
from mlff_plugins.ipi.client import Address
from mlff_plugins.ipi.pes_driver import MLFFDriver

OUTPUT = "".join(
    f"<trajectory stride='1' filename='{name}' extra_type='{name}'>extras</trajectory>"
    for name in ("energy_std", "forces_std", "committee_pot")
)
MANY = 100_000
DIRECT = """<ffdirect name='mlff'{threaded}><pes>custom</pes><pes_path>{file}</pes_path>
  <parameters>{{template:start.extxyz,model:{model},dtype:float64,device:cpu,
   max_uncertainty:{limit},on_uncertain:stop}}</parameters>{batch}</ffdirect>"""


@pytest.fixture(scope="module")
def committee(tmp_path_factory):
    """The file of two nearly flat students, under which atoms stay where they are for a while."""
    folder, files = tmp_path_factory.mktemp("committee"), []
    for seed in (0, 1):
        student = small_student(seed=seed)
        student.model.scale.fill_(0.02)
        files.append(str(save_checkpoint(folder / f"{seed}.pt", student.model, student.card)))
    write_committee(folder / "committee.toml", files, Calibration(2.0, 3.0))
    return folder / "committee.toml"


@pytest.fixture(scope="module")
def opened(committee):
    return load(committee, device="cpu", dtype="float64")


@pytest.fixture(scope="module")
def deviation(opened):
    batch = structures.to_batch(structures.ethanol())
    return float(opened.predict(batch, want=("forces_std",)).forces_std.max())


def boxed():
    atoms = structures.ethanol()
    atoms.set_cell([20.0] * 3)
    return atoms


def ended_early(run):
    """Whether an i-PI run was ended before its last step, and left what it goes on from."""
    run.finished(300)
    return 1 < run.steps_done() < MANY and (run.folder / "RESTART").exists()


def test_a_watched_committee_shows_what_a_bare_one_shows(ipi, opened):
    atoms = boxed()
    found = []
    for name, potential in (
        ("bare", opened),
        ("watched", WatchedPotential(opened, max_forces_std=1e6, on_uncertain="stop")),
    ):
        run = ipi(atoms, name, steps=3, output=OUTPUT).start()
        ipi.serve(Address.unix(run.name), atoms, potential).end(300)
        run.finished(300)
        found.append(
            [np.loadtxt(run.folder / f"run.{what}_0") for what in ("energy_std", "forces_std", "committee_pot")]
        )
    for bare, watched in zip(*found, strict=True):
        np.testing.assert_array_equal(bare, watched)
    energy_std, forces_std, pots = found[1]
    wanted = opened.predict(structures.to_batch(atoms), want=("energy", "energy_std", "forces_std"))
    assert energy_std[0] == pytest.approx(float(wanted.energy_std), rel=1e-6)
    np.testing.assert_allclose(forces_std.reshape(4, 9, 3)[0], wanted.forces_std.numpy(), atol=1e-6)
    assert pots.shape == (4, 2)
    assert pots[0].mean() == pytest.approx(float(wanted.energy) / EV_PER_HARTREE, rel=1e-6)


def test_a_driver_that_stops_leaves_the_run_to_one_that_warns(ipi, opened, deviation):
    atoms = boxed()
    run = ipi(atoms, steps=400, timestep=0.5).start()
    watched = WatchedPotential(opened, max_forces_std=1.02 * deviation, on_uncertain="stop")
    with pytest.raises(UncertaintyError, match=r"not sure enough.*\(atom \d\).*after \d+ structures"):
        ipi.serve(Address.unix(run.name), atoms, watched).end(300)
    assert watched.n_uncertain == 1
    assert 1 < watched.n_predictions < 401
    assert run.process.poll() is None
    warning = WatchedPotential(opened, max_forces_std=1.02 * deviation)
    with pytest.warns(UncertaintyWarning, match="not sure enough"):
        ipi.serve(Address.unix(run.name), atoms, warning).end(300)
    run.finished(300)
    assert run.steps_done() == 401


def test_the_command_stops_and_ends_an_i_pi_that_is_to_end_with_it(ipi, committee, deviation):
    ending = "<exit_on_disconnect>True</exit_on_disconnect>"
    run = ipi(boxed(), steps=MANY, timestep=0.5, socket=ending).start()
    limit = str(1.02 * deviation)
    served = run.served_by_command(
        committee, arguments=["--unix", run.name, "--max-uncertainty", limit, "--on-uncertain", "stop"]
    )
    assert served.returncode == 1, served.stderr
    assert "not sure enough" in served.stderr
    assert "Traceback" not in served.stderr
    assert ended_early(run)


def test_a_model_inside_i_pi_that_stops_ends_it_with_a_restart_file(ipi, committee, deviation):
    batch = "<batch_size>4</batch_size>"
    limit = 1.5 * deviation
    direct = DIRECT.format(threaded=" threaded='True'", file=PES_FILE, model=committee, limit=limit, batch=batch)
    run = ipi(boxed(), steps=MANY, timestep=0.5, forcefield=direct, beads=4, ensemble="nvt", dynamics=ipi.pile).start()
    assert ended_early(run)
    printed = (run.folder / "log").read_text()
    assert "not sure enough" in printed
    assert "of 4)" in printed


def test_a_model_inside_i_pi_without_a_thread_ends_it_with_exit_status_1(ipi, committee, deviation):
    direct = DIRECT.format(threaded="", file=PES_FILE, model=committee, limit=0.5 * deviation, batch="")
    run = ipi(boxed(), forcefield=direct).start()
    assert run.process.wait(300) == 1
    assert "UncertaintyError" in (run.folder / "log").read_text()


def test_what_cannot_be_watched_is_refused_inside_i_pi(tmp_path):
    atoms = structures.to_batch(boxed())
    with pytest.raises(UnsupportedError, match="use a committee"):
        MLFFDriver(atoms, small_student(dtype=torch.float64), max_uncertainty=0.5)
    with pytest.raises(InputError, match="must be a number, eV/Å, got 'much'"):
        MLFFDriver(atoms, small_student(dtype=torch.float64), max_uncertainty="much")
