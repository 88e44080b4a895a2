"""The package as a whole: names, imports, hooks, files."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import mlff_core
from mlff_core.cli.main import COMMANDS, build
from mlff_core.plugins import hookspecs

ROOT = Path(__file__).parents[2]
HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("mlff_register_"))


@pytest.mark.parametrize("name", mlff_core.__all__)
def test_every_public_name_can_be_had(name):
    assert getattr(mlff_core, name) is not None


def test_importing_the_core_imports_no_torch():
    code = "import sys, mlff_core, mlff_core.plugins.host; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_the_version_is_the_distributions():
    assert f'version = "{mlff_core.__version__}"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_and_has_an_implementer_in_a_test(hook):
    assert f"## `{hook}`" in (ROOT / "docs" / "hooks.md").read_text()
    sources = [path.read_text() for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)]
    sources += [path.read_text() for path in (ROOT / "mlff_plugins").rglob("*.py")]
    assert any(f"def {hook}" in source for source in sources)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_there_and_its_first_line_matches_the_listing(name):
    import click

    group = build()
    command = group.get_command(click.Context(group), name)
    assert command is not None
    assert command.get_short_help_str(limit=200) == COMMANDS[name]


def test_no_product_of_a_run_is_tracked_beside_the_project_files():
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", ":(glob)*"], capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no git checkout")
    products = {".xyz", ".extxyz", ".traj", ".pt", ".h5", ".log", ".csv", ".json", ".html", ".png"}
    assert not [name for name in listed.stdout.split() if Path(name).suffix in products]


def test_no_file_has_a_name_that_says_nothing():
    banned = {"utils.py", "helpers.py", "common.py", "misc.py"}
    found = [path for folder in ("mlff_core", "mlff_plugins") for path in (ROOT / folder).rglob("*.py")]
    assert not [path for path in found if path.name in banned]


def test_no_file_is_longer_than_it_says_why():
    for folder in ("mlff_core", "mlff_plugins"):
        for path in (ROOT / folder).rglob("*.py"):
            lines = path.read_text().splitlines()
            if len(lines) > 320:
                assert re.search(r"in one file because|long because", "\n".join(lines[:30])), (
                    f"{path}: {len(lines)} lines"
                )


def test_ignore_rules_do_not_swallow_the_packages():
    done = subprocess.run(
        ["git", "check-ignore", "mlff_core/data/hdf5.py", "mlff_core/models/shipped/index.json"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == ""
