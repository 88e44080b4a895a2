import json
from types import SimpleNamespace
from typing import ClassVar

import pytest
from click.testing import CliRunner

from mlff_core.cli.main import cli
from mlff_core.data.hdf5 import Dataset
from mlff_core.plugins.hookspecs import hookimpl
from mlff_core.plugins.teacher import Teacher

pytest.importorskip("rdkit")
pytest.importorskip("gfnff")


class PairTeacher(Teacher):
    name = "pair"
    package = "mlff-hub"
    method = "Morse"
    options: ClassVar = {"cutoff": "Å"}

    def load(self, options=None):
        from mlff_core.testing.reference_potential import PairPotential

        return PairPotential(**(options or {}))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs ``mlff`` in an empty folder, with a cheap teacher registered as a plugin."""
    from mlff_core.plugins.host import PluginHost

    host = PluginHost()
    offer = hookimpl(lambda: [PairTeacher()], specname="mlff_register_teachers")
    host.register(SimpleNamespace(mlff_register_teachers=offer), "pair")
    monkeypatch.setattr("mlff_core.plugins.host.host", lambda: host)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "few.smi").write_text("CCO\nCC\nCCC\nC1CC(\nCO\nCCN\n")
    (tmp_path / "few.toml").write_text(
        "conformers = 1\nmax_failed_share = 0.2\nmax_force = 0.0\n[kinds.md]\nn = 1\nsteps_between = 2\n"
        "[kinds.cluster]\nenabled = false\n"
    )

    def invoke(*arguments):
        return CliRunner().invoke(cli, ["data", *arguments])

    return invoke


def test_from_smiles_to_a_split_data_set_and_back_to_xyz(run, tmp_path):
    made = run("generate", "few.smi", "few.h5", "--teacher", "pair", "--config", "few.toml", "--seed", "3", "--json")
    assert made.exit_code == 0, made.stderr
    report = json.loads(made.stdout)
    assert (report["n_inputs"], report["n_failed_inputs"]) == (6, 1)
    assert json.loads((tmp_path / "few.h5.skipped.jsonl").read_text())["source"] == "few.smi:4"
    assert Dataset("few.h5").created["settings"]["seed"] == 3

    arguments = ["few.smi", "few.h5", "--teacher", "pair", "--config", "few.toml", "--seed", "3", "--split"]
    assert "split: train " in run("generate", *arguments, "scaffold").stdout
    assert len(Dataset("few.h5").indices("test")) > 0
    assert "or composition or elements, got 'frame'" in run("generate", *arguments, "frame").stderr

    assert run("split", "few.h5", "--validation", "0.2", "--test", "0.2").stdout.startswith(
        "few.h5, by molecule: train "
    )
    assert "labelled with energy" in run("split", "few.h5", "--validation", "0.2", "--test", "0.2").stdout
    summary = json.loads(run("info", "few.h5", "--json").stdout)
    assert summary["labels"] == {"energy": report["n_structures"], "forces": report["n_structures"]} == report["labels"]
    assert summary["n_structures"] == report["n_structures"] == sum(summary["split"].values())
    assert summary["kinds"]["rattle"] == 5
    assert summary["teacher"]["name"] == "pair-potential"
    assert "force rms ev per angstrom" in run("info", "few.h5").stdout
    assert run("validate", "few.h5").stdout.startswith("few.h5 is valid: ")

    assert run("convert", "few.h5", "few.extxyz").exit_code == 0
    again = run(
        "label", "few.extxyz", "again.h5", "--teacher", "pair", "--set", "batch_structures=7", "--set", "max_force=0.0"
    )
    assert again.exit_code == 0, again.stderr
    assert Dataset("again.h5").energy == pytest.approx(Dataset("few.h5").energy, abs=1e-5)
    n = 2 * len(Dataset("few.h5"))
    assert (
        run("merge", "few.h5", "again.h5", "-o", "both.h5").stdout
        == f"both.h5: {n} structures of 2 data sets, labelled with energy {n}, forces {n}\n"
    )


def test_options_reach_the_teacher(run):
    run("generate", "few.smi", "a.h5", "--config", "few.toml", "--set", "kinds.descent.enabled=false")
    for cutoff in (3, 5):
        run(
            "label",
            "a.h5",
            f"b{cutoff}.h5",
            "--teacher",
            "pair",
            "--set",
            "max_force=0.0",
            "--teacher-option",
            f"cutoff={cutoff}",
        )
    assert abs(Dataset("b3.h5").energy - Dataset("b5.h5").energy).max() > 0.1


def test_starting_again_says_that_all_was_there(run):
    arguments = ("generate", "few.smi", "few.h5", "--teacher", "pair", "--config", "few.toml")
    run(*arguments)
    assert "1 of 1 batches were finished in an earlier run" in run(*arguments).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "few.smi", "o.h5", "--set", "kinds.ratle.n=3"], "did you mean kinds.rattle?"),
        (["generate", "few.smi", "o.h5"], "the kind descent needs a teacher"),
        (["generate", "few.smi", "o.h5", "--teacher", "pair", "--set", "max_failed_share=0.1"], "1 of 6 inputs"),
        (["generate", "few.smi", "o.h5", "--teacher", "par"], "no teacher is called 'par'; did you mean 'pair'?"),
        (["generate", "few.smi", "o.h5", "--teacher", "pair", "--teacher-option", "x"], "needs KEY=VALUE, got 'x'"),
        (["generate", "none.smi", "o.h5", "--teacher", "pair"], "there is no file none.smi"),
        (["label", "none.h5", "o.h5", "--teacher", "pair"], "there is no file none.h5"),
        (["label", "few.toml", "o.h5", "--teacher", "pair"], "few.toml cannot be read as a structure file"),
        (["info", "few.smi"], "few.smi cannot be opened as HDF5"),
        (["validate", "none.h5"], "there is no data set file none.h5"),
        (["split", "none.h5"], "there is no data set file none.h5"),
        (["convert", "few.smi", "o.extxyz"], "few.smi is not a data set and o.extxyz would not be one"),
        (["merge", "few.smi", "-o", "o.h5"], "at least two data sets"),
    ],
)  # fmt: skip
def test_bad_input_gets_one_line_and_status_one(run, tmp_path, arguments, message):
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "o.h5").exists()


def test_help_imports_no_torch():
    import subprocess
    import sys

    code = (
        "import sys; from mlff_core.cli.data import command; "
        "assert not {'torch', 'h5py', 'ase', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_model_is_a_teacher_by_path_or_name_and_its_labels_are_its_own(run, tmp_path):
    import torch

    from mlff_core import ModelCard, load
    from mlff_core.model.painn import PaiNN, PaiNNConfig
    from mlff_core.models.checkpoint import file_sha256, save_checkpoint

    torch.manual_seed(0)
    config = PaiNNConfig(elements=(1, 6, 7, 8), hidden=8, n_layers=1, n_radial=4)
    card = ModelCard("big", config.elements, config.cutoff, teacher={"name": "so3lr"})
    save_checkpoint(tmp_path / "big.pt", PaiNN(config), card)
    run("generate", "few.smi", "a.h5", "--config", "few.toml", "--set", "kinds.descent.enabled=false")
    arguments = ("label", "a.h5", "b.h5", "--set", "max_force=0.0", "--teacher", "big.pt")
    done = run(*arguments, "--teacher-option", "dtype=float64")
    assert done.exit_code == 0, done.stderr
    assert "labelled with energy" in done.stdout
    dataset = Dataset("b.h5")
    assert (dataset.teacher["name"], dataset.teacher["method"]) == ("big", "student of so3lr")
    assert dataset.teacher["sha256"] == file_sha256(tmp_path / "big.pt")
    assert dataset.teacher["settings"] == {"dtype": "float64"}
    read = dataset.read(dataset.indices(), dtype=torch.float64)
    expected = load("big.pt", dtype="float64").predict(read.batch)
    torch.testing.assert_close(read.energy, expected.energy, rtol=0, atol=1e-6)
    assert (
        "has no option weights; it has device, dtype, kernel" in run(*arguments, "--teacher-option", "weights=x").stderr
    )
    assert "there is no file none.pt" in run("label", "a.h5", "c.h5", "--teacher", "none.pt").stderr
    assert run("label", "a.h5", "c.h5", "--teacher", "organic-tiny", "--set", "max_force=0.0").exit_code == 0
    assert Dataset("c.h5").teacher["name"] == "organic-tiny"
