"""``mlff ipi-mts``: the input and the commands that it prints, run as they are by the real i-PI."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.io import read
from click.testing import CliRunner

pytest.importorskip("ipi")

from mlff_core.cli.main import build
from mlff_core.errors import InputError
from mlff_core.models.opening import load
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.testing import structures
from mlff_plugins.ipi.mts_input import MTSRun, write_mts_input

I_PI = Path(sys.executable).parent / "i-pi"
STEPS, INNER_STEPS = 30, 3


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / f"run-{tmp_path.name}"
    yield found
    for role in ("outer", "inner"):
        Path(f"/tmp/ipi_mlff-{found.name.replace('_', '-')}-{role}").unlink(missing_ok=True)


def test_the_printed_commands_run_with_i_pi_and_the_energy_is_that_of_the_outer_model(folder, tmp_path):
    structures.ethanol().write(tmp_path / "ethanol.xyz")
    given = f"ipi-mts organic-ultra-tiny {tmp_path / 'ethanol.xyz'} -o {folder} --inner organic-tiny --nve"
    given += f" --inner-steps {INNER_STEPS} --steps {STEPS} --timestep-fs 1.5"
    printed = CliRunner().invoke(build(), given.split())
    assert printed.exit_code == 0, printed.output
    simulation, *drivers = (shlex.split(line) for line in printed.stdout.splitlines())
    assert simulation == ["i-pi", "input.xml"]
    drivers = [
        [sys.executable, "-m", "mlff_core.cli", *driver[1:], "--dtype", "float64", "--device", "cpu"]
        for driver in drivers
    ]
    running = []
    with (folder / "log").open("w") as log:
        try:
            running = [
                subprocess.Popen([sys.executable, I_PI, "input.xml"], cwd=folder, stdout=log, stderr=log),
                *(subprocess.Popen(d, cwd=folder, stderr=subprocess.PIPE, text=True) for d in drivers),
            ]
            said = [process.communicate(timeout=300)[1] for process in running[1:]]
            assert running[0].wait(60) == 0, (folder / "log").read_text()[-2000:]
        finally:
            for process in running:
                process.kill()
    counts = [int(re.search(r"(\d+) structures computed", text)[1]) for text in said]
    assert counts[0] <= STEPS + 2
    assert INNER_STEPS * STEPS <= counts[1] <= INNER_STEPS * STEPS + 2
    out = np.loadtxt(folder / "run.out")
    assert out[:, 0].tolist() == [0, 10, 20, 30]
    np.testing.assert_allclose(out[:, 1], 1.5 * out[:, 0])
    outer = load("organic-ultra-tiny", device="cpu", dtype="float64", guard="off")
    for row, frame in zip(out, read(folder / "run.pos_0.extxyz", ":"), strict=True):
        frame.pbc = False
        energy = float(outer.predict(batch_from_atoms([frame])).energy)
        # i-PI's hartree differs by 2e-7 from ours, and the reference energies are thousands of eV.
        assert row[3] == pytest.approx(energy, rel=1e-6, abs=2e-4)
    kinetic = out[:, 4].mean()
    assert np.ptp(out[:, 2]) < 0.05 * kinetic
    assert np.ptp(out[:, 3]) > 0.1 * kinetic


def test_the_input_has_a_thermostat_unless_the_energy_is_to_be_constant(tmp_path):
    run = MTSRun("so3lr", "inner.pt", 4, 2.0, 100, friction_per_ps=5.0)
    lines = write_mts_input(run, structures.ethanol(), tmp_path / "nvt")
    text = (tmp_path / "nvt" / "input.xml").read_text()
    assert "<nmts>[1, 4]</nmts>" in text
    assert "<tau units='femtosecond'>200</tau>" in text
    assert "mode='nvt'" in text
    assert lines[1].startswith("mlff serve-ipi so3lr --unix mlff-nvt-outer")
    write_mts_input(MTSRun("so3lr", "inner.pt", 4, 2.0, 100, friction_per_ps=None), structures.ethanol(), tmp_path)
    assert "thermostat" not in (tmp_path / "input.xml").read_text()
    with pytest.raises(InputError, match="exists already"):
        write_mts_input(run, structures.ethanol(), tmp_path)
    with pytest.raises(InputError, match="inner_steps"):
        MTSRun("so3lr", "inner.pt", 0, 2.0, 100)
    with pytest.raises(InputError, match="timestep_fs"):
        MTSRun("so3lr", "inner.pt", 4, 0.0, 100)
