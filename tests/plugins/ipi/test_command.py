"""``mlff serve-ipi`` with ``i-pi input.xml``, ``<ffdirect>``, and the reading of an i-PI input."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

pytest.importorskip("ipi")

from mlff_core.cli.main import build
from mlff_core.errors import InputError
from mlff_core.models.checkpoint import save_checkpoint
from mlff_core.testing import small_student, structures
from mlff_plugins.ipi.input_file import check_not_wrapped, read_input, read_template, template_of

ROOT = Path(__file__).parents[3]
I_PI = Path(sys.executable).parent / "i-pi"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    student = small_student()
    return save_checkpoint(tmp_path_factory.mktemp("model") / "model.pt", student.model, student.card)


def mlff(*arguments):
    return [sys.executable, "-m", "mlff_core.cli", *map(str, arguments)]


def test_the_example_runs_with_the_users_own_two_lines(model, tmp_path):
    folder = shutil.copytree(ROOT / "examples/engines/ipi", tmp_path / "example")
    # Names of sockets are the machine's, so a test has one of its own.
    text = (folder / "input.xml").read_text().replace("mlff-ethanol", f"mlff-{tmp_path.name}")
    (folder / "input.xml").write_text(text)
    with subprocess.Popen([sys.executable, I_PI, "input.xml"], cwd=folder, stdout=subprocess.DEVNULL) as ipi:
        try:
            served = subprocess.run(
                mlff("serve-ipi", model, "--device", "cpu"), cwd=folder, capture_output=True, text=True, timeout=120
            )
            assert ipi.wait(30) == 0
        finally:
            ipi.kill()
            Path(f"/tmp/ipi_mlff-{tmp_path.name}").unlink(missing_ok=True)
    assert served.returncode == 0, served.stderr
    assert served.stdout == ""
    assert "168 structures computed" in served.stderr
    out = np.loadtxt(folder / "ethanol.out")
    assert out.shape == (21, 6)
    assert np.isfinite(out).all()


def test_ffdirect_has_the_models_energies_batched(model, tmp_path):
    path = CliRunner().invoke(build(), ["ipi-pes-path"]).stdout.strip()
    folder = shutil.copytree(ROOT / "examples/engines/ipi", tmp_path / "direct")
    direct = (
        f"<ffdirect name='mlff' threaded='True'><pes>custom</pes><pes_path>{path}</pes_path><batch_size>8</batch_size>"
        f"<parameters>{{template:start.extxyz,model:{model},dtype:float64,device:cpu}}</parameters></ffdirect>"
    )
    text = re.sub(r"<ffsocket.*</ffsocket>", direct, (folder / "input.xml").read_text(), flags=re.DOTALL)
    (folder / "input.xml").write_text(text.replace("<total_steps>20<", "<total_steps>3<"))
    done = subprocess.run([sys.executable, I_PI, "input.xml"], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    atoms = read_template(folder / "start.extxyz")
    wanted = small_student(dtype=torch.float64).predict(structures.to_batch(atoms)).energy
    found = np.loadtxt(folder / "ethanol.out")
    # i-PI's table of constants differs by 2e-7.
    assert found[0, 5] == pytest.approx(float(wanted), rel=1e-6)
    assert len(found) == 4


def input_file(folder, text, files="<file mode='xyz'>start.xyz</file>"):
    path = folder / "input.xml"
    path.write_text(f"<simulation>{text}<system><initialize>{files}</initialize></system></simulation>")
    return path


def test_the_address_is_read_from_the_input(tmp_path):
    unix = "<ffsocket mode='unix' name='a'> <address> here </address></ffsocket>"
    assert read_input(input_file(tmp_path, unix)).address.path == "/tmp/ipi_here"
    path = input_file(tmp_path, unix)
    path.write_text(path.read_text().replace("<simulation>", "<simulation sockets_prefix='/run/s_'>"))
    assert read_input(path).address.path == "/run/s_here"
    inet = "<ffsocket name='a'><address>host</address><port> 1234 </port></ffsocket>"
    found = read_input(input_file(tmp_path, inet)).address
    assert (found.path, found.host, found.port) == (None, "host", 1234)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it has none"),
        ("<ffsocket name='a'/><ffsocket name='b'/>", "it has a, b"),
        ("<ffsocket mode='shm'><address>x</address></ffsocket>", "'shm'"),
        ("<ffsocket><port>70000</port></ffsocket>", "70000"),
        ("<ffsocket>", "is not XML"),
    ],
)
def test_an_input_that_cannot_be_served_is_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_input(input_file(tmp_path, text))


def test_atoms_are_read_from_the_file_that_the_input_names(tmp_path):
    socket = "<ffsocket mode='unix' pbc='True'><address>x</address></ffsocket>"
    own = "3\n# CELL(abcABC): 10 10 10 90 90 90 positions{angstrom}\nO 0 0 0\nH 0 0 1\nH 0 1 0\n"
    (tmp_path / "start.xyz").write_text(own)
    given = read_input(input_file(tmp_path, socket))
    atoms = template_of(given)
    assert atoms.get_chemical_formula() == "H2O"
    # i-PI's own format has a cell but no entry for periodicity.
    assert atoms.pbc.all()
    check_not_wrapped(given, atoms)
    (tmp_path / "start.xyz").write_text(own.replace("# CELL(abcABC): 10 10 10 90 90 90", "no box"))
    with pytest.raises(InputError, match="wraps atoms"):
        check_not_wrapped(given, template_of(given))
    (tmp_path / "other.xyz").write_text(own.replace("O", "C"))
    two = "<file mode='xyz'>start.xyz</file><file mode='xyz'>other.xyz</file>"
    with pytest.raises(InputError, match="different atoms"):
        template_of(read_input(input_file(tmp_path, socket, two)))
    with pytest.raises(InputError, match="it has chk"):
        template_of(read_input(input_file(tmp_path, socket, "<file mode='chk'>RESTART</file>")))


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 1, "there is no i-PI input input.xml"),
        (["--input", "other.xml"], 1, "there is no i-PI input other.xml"),
        (["--unix", "a", "--port", "5"], 2, "either --unix"),
        (["--host", "a"], 2, "--host needs --port"),
        (["--unix", "a", "--template", "start.extxyz", "--batch", "many"], 1, "auto or a number"),
        (["--unix", "a", "--template", "start.extxyz", "--max-uncertainty", "1"], 1, "use a committee"),
        (["--unix", "a", "--template", "absent.xyz"], 1, "absent.xyz"),
        (["--unix", "/nowhere/a", "--template", "start.extxyz", "--wait-s", "0.1"], 1, "within 0.1 s"),
    ],
)
def test_a_wrong_command_line_is_an_error_with_a_message(model, tmp_path, monkeypatch, arguments, status, message):
    monkeypatch.chdir(tmp_path)
    structures.ethanol().write("start.extxyz")
    done = CliRunner().invoke(build(), ["serve-ipi", str(model), "--device", "cpu", *arguments])
    assert (done.exit_code, message in done.stderr) == (status, True), done.output
