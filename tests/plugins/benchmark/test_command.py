"""``mlff benchmark`` from the command line."""

import json

import pytest
from click.testing import CliRunner

from mlff_core.cli.main import build
from mlff_core.models.checkpoint import save_checkpoint
from mlff_core.testing import small_student


@pytest.fixture(name="model")
def fixture_model(tmp_path):
    student = small_student()
    student.model.scale.fill_(0.02)  # nearly flat, so that atoms under random weights stay where they are for a while
    save_checkpoint(tmp_path / "model.pt", student.model, student.card)
    return tmp_path / "model.pt"


def benchmark(model, *arguments, status=0):
    result = CliRunner().invoke(build(), ["benchmark", str(model), *(str(argument) for argument in arguments)])
    assert result.exit_code == status, result.output
    return result


def test_json_has_the_machine_and_versions(model):
    content = json.loads(benchmark(model, "--systems", "ethanol-9", "--repeats", 1, "--json").stdout)
    (timing,) = content["timings"]
    assert timing["n_atoms"] == 9
    assert timing["ms_per_step"] > 0
    assert content["machine"]["versions"]["torch"]
    assert len(content["model_sha256"]) == 64


def test_the_table_has_the_time_of_a_step(model):
    assert "ms/step" in benchmark(model, "--systems", "ethanol-9", "--repeats", 1).stdout


def test_an_unknown_system_is_one_line(model):
    result = benchmark(model, "--systems", "beer-9", status=1)
    assert result.stdout == ""
    assert result.stderr.startswith("Error: no system is called 'beer-9'")
    assert len(result.stderr.strip().splitlines()) == 1
