"""i-PI's committees: of several drivers, and of one driver with several models."""

import json

import numpy as np
import pytest
import torch
from ase.io import read

pytest.importorskip("ipi")

from mlff_core.models.checkpoint import save_checkpoint
from mlff_core.testing import small_student, structures
from mlff_core.units import EV_PER_HARTREE
from mlff_plugins.ipi.client import Address

OUTPUT = """
  <trajectory stride='1' filename='pots' extra_type='committee_pot'>extras</trajectory>
  <trajectory stride='1' filename='spread' extra_type='committee_uncertainty'>extras</trajectory>"""
COMMITTEE = """<ffcommittee name='mlff'>{sockets}{options}
 <active_thresh units='electronvolt'>1e-9</active_thresh><active_output>active</active_output></ffcommittee>"""


def committee(socket, names, options=""):
    """Return a committee of one socket for each name, which follows the run's own in the address."""

    def text(run):
        sockets = "".join(
            socket.format(mode="unix", forcefield=name, address=f"{run}{name}", port="", timeout=60, socket="")
            for name in names
        )
        return COMMITTEE.format(sockets=sockets, options=options)

    return text


def test_two_drivers_and_one_with_both_models_make_the_same_committee(ipi, tmp_path):
    atoms = structures.ethanol()
    atoms.set_cell([20.0] * 3)
    students = [small_student(seed=seed) for seed in (0, 1)]
    files = [save_checkpoint(tmp_path / f"{k}.pt", one.model, one.card) for k, one in enumerate(students)]
    models = [small_student(seed=seed, dtype=torch.float64) for seed in (0, 1)]
    names = ("-a", "-b")
    apart = ipi(atoms, "apart", output=OUTPUT, forcefield=committee(ipi.socket, names)).start()
    clients = [
        ipi.serve(Address.unix(apart.name + name), atoms, model) for name, model in zip(names, models, strict=True)
    ]
    parse = "<parse_json>True</parse_json>"
    both = ipi(atoms, "both", output=OUTPUT, forcefield=committee(ipi.socket, names[:1], parse)).start()
    served = both.served_by_command(*files, arguments=["--unix", f"{both.name}-a", "--max-uncertainty", "1e-6"])
    assert served.returncode == 0, served.stderr
    assert "small-student and 1 more" in served.stderr
    assert "is not sure enough" in served.stderr
    assert "21 of 21 predictions were above the limit" in served.stderr
    for client in clients:
        assert client.end().n_evaluations == 21
    one, other = (
        np.array([frame.positions for frame in read(run.finished().folder / "run.pos_0.extxyz", ":")])
        for run in (apart, both)
    )
    assert one.shape == (21, 9, 3)
    assert abs(one[-1] - one[0]).max() > 1e-3
    assert abs(one - other).max() < 1e-8
    wanted = [float(model.predict(structures.to_batch(atoms)).energy) / EV_PER_HARTREE for model in models]
    assert abs(wanted[1] - wanted[0]) > 1e-4
    for run in (apart, both):
        pots, spread = np.loadtxt(run.folder / "run.pots_0"), np.loadtxt(run.folder / "run.spread_0")
        # i-PI's own table of constants differs by 2e-7.
        assert pots[0] == pytest.approx(wanted, rel=1e-6)
        assert run.properties()[:, 2] == pytest.approx(pots.mean(axis=1), rel=1e-8)
        assert spread == pytest.approx(pots.std(axis=1, ddof=1), rel=1e-4)
        # Structures above the threshold are kept, for active learning.
        kept = (run.folder / "run.active").read_text()
        first = json.JSONDecoder().raw_decode(kept)[0]
        assert first["uncertainty"] == pytest.approx(spread[0], rel=1e-4)
