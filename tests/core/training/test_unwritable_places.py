"""If the output cannot be written, every command reports it in one line before the work begins."""

from pathlib import Path

import pytest
from ase.build import molecule
from click.testing import CliRunner

from mlff_core.cli.main import build
from mlff_core.models.registry import resolve

STUDENT = "organic-ultra-tiny"


@pytest.fixture
def no_folder(tmp_path):
    """A path inside a file; even the superuser cannot write there."""
    (tmp_path / "file").write_text("not a folder")
    return tmp_path / "file" / "below"


@pytest.mark.parametrize(
    "command",
    [
        "md {model} {structure} -o {place}/run --steps 5 --temperature-kelvin 300",
        "validate {model} {data} --out {place}",
        "compare {model} {model} --data {data} --out {place}",
        "demo --out {place}",
        "parity {model} --engine ase --out {place}/parity.json",
        "export {model} --format torchscript -o {place}/model.ts",
        "data convert {data} {place}/data.h5",
        "data label {structure} {place}/data.h5 --teacher gfn2-xtb",
        "models add {file} --name mine",
        "train {config} --out {place}",
    ],
)
def test_a_place_that_cannot_be_written_is_one_line(command, no_folder, tmp_path, morse_set, monkeypatch):
    shipped = resolve(STUDENT)
    monkeypatch.setenv("MLFF_MODELS_DIR", str(no_folder))
    molecule("CH3CH2OH").write(tmp_path / "ethanol.xyz")
    config = tmp_path / "student.toml"
    config.write_text(f"[model]\npreset = 'ultra-tiny'\n[data]\npath = '{morse_set}'\n[stop]\nmax_steps = 1\n")
    paths = {
        "model": STUDENT, "structure": tmp_path / "ethanol.xyz", "data": morse_set, "place": no_folder,
        "file": shipped, "config": config,
    }  # fmt: skip
    done = CliRunner().invoke(build(), command.format_map(paths).split(), catch_exceptions=False)
    assert done.exit_code == 1, done.output
    lines = [line for line in done.output.splitlines() if "Error" in line]
    assert len(lines) == 1, done.output
    assert "cannot be written" in lines[0] or "is not a folder" in lines[0]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no folder where permitted writing fails")
@pytest.mark.parametrize(
    "command", ["export {model} --format torchscript -o /proc/m.ts", "data convert {data} /proc/d.h5"]
)
def test_a_folder_where_permitted_writing_fails_is_one_line_too(command, morse_set):
    done = CliRunner().invoke(build(), command.format(model=STUDENT, data=morse_set).split(), catch_exceptions=False)
    assert done.exit_code == 1, done.output
    assert "/proc cannot be written" in done.output
