"""What the command line says to someone who does not know it yet."""

import os
import shutil
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner

import mlff_core
from mlff_core.cli.main import COMMANDS, build
from mlff_core.cli.version import kernel_text


def mlff(*arguments):
    return CliRunner().invoke(build(), list(arguments))


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        (["relx"], "Did you mean 'relax'?"),
        (["conformer"], "Did you mean 'conformers'?"),
        (["xyzzy"], "'mlff --help' lists all."),
        (["relax", "m", "f", "--optimzer", "fire"], "--optimizer"),
    ],
)
def test_a_mistyped_command_or_option_gets_the_nearest_one(line, hint):
    result = mlff(*line)
    assert result.exit_code == 2
    assert hint in result.stderr


def test_the_version_names_torch_device_and_kernel():
    lines = mlff("--version").stdout.splitlines()
    assert lines[0] == f"mlff {mlff_core.__version__}"
    assert lines[1] == f"torch {torch.__version__}"
    assert [line.split()[0] for line in lines] == ["mlff", "torch", "device", "kernel"]


def test_the_kernel_named_is_the_one_that_is_chosen(monkeypatch):
    monkeypatch.delenv("MLFF_KERNEL", raising=False)
    found = kernel_text("cpu")
    used = mlff_core.load("organic-tiny", device="cpu").kernel.name
    assert found.startswith(used)
    monkeypatch.setenv("MLFF_KERNEL", "reference")
    assert kernel_text("cpu") == "reference (MLFF_KERNEL)"


def test_verbose_names_the_kernel(tmp_path):
    (tmp_path / "water.xyz").write_text("3\n\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n")
    line = [sys.executable, "-m", "mlff_core.cli", "-v", "predict", "organic-tiny", "water.xyz", "--device", "cpu"]
    environment = {name: value for name, value in os.environ.items() if name != "MLFF_KERNEL"}
    for arguments, told in [(line, True), ([*line[:3], *line[4:]], False)]:
        done = subprocess.run(arguments, capture_output=True, text=True, env=environment, cwd=tmp_path, check=True)
        assert ("kernel is used" in done.stderr) == told


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_read_by_it(shell, tmp_path):
    result = mlff("completion", shell)
    assert result.exit_code == 0, result.output
    assert "_MLFF_COMPLETE" in result.stdout
    if shutil.which(shell):
        (tmp_path / "script").write_text(result.stdout)
        subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)


def test_completion_offers_commands_and_options():
    def offered(words):
        environment = {
            **os.environ,
            "_MLFF_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        }
        done = subprocess.run(
            [sys.executable, "-c", "from mlff_core.cli.main import main; main()"],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        return {line.split(",")[1] for line in done.stdout.splitlines()}

    assert {"relax"} <= offered("mlff rel") <= set(COMMANDS)
    assert "--optimizer" in offered("mlff relax --opt")
