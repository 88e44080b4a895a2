"""The tutorial's packages, built from the text of its page and run as a stranger would run them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "writing_a_plugin.md"
FILE = re.compile(r"^`(?P<path>[\w./-]+)`\n\n```\w+\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def run(*command, folder, packages):
    """Run a command with the packages in the folder ``packages`` installed."""
    paths = [str(packages), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    environment.pop("MLFF_PLUGINS", None)
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory):
    """Return the folder of the page's files, and the folder into which their packages are installed."""
    pytest.importorskip("hatchling")
    folder, packages = tmp_path_factory.mktemp("tutorial"), tmp_path_factory.mktemp("packages")
    files = {match["path"]: match["text"] for match in FILE.finditer(PAGE.read_text())}
    for path, text in files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text)
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    run("-m", "pip", "install", *options, "--target", packages, "./abacus", "./mlff-abacus", folder=folder, packages="")
    return folder, packages


def test_the_page_has_the_files_of_two_packages(tutorial):
    folder, _ = tutorial
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix in (".py", ".toml"))
    assert [path for path in found if "/build/" not in path] == [
        "abacus/abacus.py",
        "abacus/pyproject.toml",
        "mlff-abacus/mlff_abacus.py",
        "mlff-abacus/pyproject.toml",
        "mlff-abacus/test_abacus.py",
    ]


def test_the_plugin_passes_the_check_as_the_page_says(tutorial):
    folder, packages = tutorial
    printed = run("-m", "mlff_core.cli", "plugins", "check", "abacus", folder=folder, packages=packages)
    (promised,) = re.findall(r"abacus: \d+ ok, 0 failed, \d+ skipped", PAGE.read_text())
    assert promised in printed.splitlines()


def test_its_own_tests_pass_under_pytest(tutorial):
    folder, packages = tutorial
    printed = run(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "mlff-abacus/test_abacus.py"),
        folder=folder,
        packages=packages,
    )
    assert " passed" in printed
