"""``mlff tune`` from the command line."""

from ase.build import molecule
from click.testing import CliRunner

from mlff_core.cli.main import build


def test_a_student_is_tuned_to_a_larger_one_in_one_command_and_runs_inside_it(tmp_path):
    molecule("CH3OH").write(tmp_path / "methanol.xyz")
    student = tmp_path / "inner.pt"
    given = ["tune", "organic-tiny", str(tmp_path / "methanol.xyz"), "-o", str(student), "--minutes", "0.02"]
    given += ["--frames", "20", "--temperature-kelvin", "300", "400"]
    done = CliRunner().invoke(build(), given)
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(student)
    assert "labelling" in done.stderr
    assert "20 frames; force MAE on held-out trajectories" in done.stderr
    run = ["md", "organic-tiny", str(tmp_path / "methanol.xyz"), "-o", str(tmp_path / "run"), "--device", "cpu"]
    run += ["--temperature-kelvin", "300", "--steps", "5", "--inner", str(student), "--inner-steps", "4"]
    assert CliRunner().invoke(build(), run).exit_code == 0


def test_a_wrong_file_is_refused(tmp_path):
    molecule("CH3OH").write(tmp_path / "methanol.xyz")
    given = ["tune", "organic-tiny", str(tmp_path / "methanol.xyz"), "-o", str(tmp_path / "inner.onnx")]
    refused = CliRunner().invoke(build(), given)
    assert refused.exit_code == 1
    assert "must end in .pt" in refused.output
