"""Exports on a full disk or above a limit of file size: one line, status 1, and no file left behind."""

import subprocess
import sys

import pytest

from mlff_core.structures.examples import ethanol

pytest.importorskip("resource")

LIMITED = (
    "import resource, sys\n"
    "from mlff_core.cli.main import main\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))\n"
    "sys.argv = ['mlff', *sys.argv[1:]]\n"
    "main()\n"
)


@pytest.mark.parametrize(
    ("format_name", "file"),
    [
        ("torchscript", "student.ts"),
        ("metatomic", "student.pt"),
        pytest.param("gromacs", "nnp.pt", marks=pytest.mark.slow),
        pytest.param("openmm", "force.pt", marks=pytest.mark.slow),
        pytest.param("onnx", "student.onnx", marks=pytest.mark.slow),
    ],
)
def test_an_export_that_finds_no_room_says_so_and_leaves_nothing(tmp_path, format_name, file):
    # torch's own writer ended the process with SIGABRT, and left the folder it wrote in.
    if format_name == "metatomic":
        pytest.importorskip("metatomic_ase")
    folder = tmp_path / "out"
    folder.mkdir()
    line = ["export", "organic-ultra-tiny", "--format", format_name, "-o", str(folder / file)]
    if format_name == "openmm":
        ethanol().write(tmp_path / "ethanol.xyz")
        line += ["--structure", str(tmp_path / "ethanol.xyz")]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *line], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert done.returncode == 1, done.stderr
    (message,) = [text for text in done.stderr.splitlines() if text.startswith("Error")]
    assert f"{file} cannot be written: File too large" in message
    assert "Traceback" not in done.stderr
    assert not list(folder.iterdir())
