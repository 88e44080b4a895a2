"""The site: what its build would not notice is missing."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

import mlff_core
from mlff_core import testing
from mlff_core.cli.main import build

DOCS = Path(__file__).parents[2] / "docs"
QUICKSTART = (DOCS / "quickstart.md").read_text()
COMMANDS = [line for line in QUICKSTART.splitlines() if line.startswith("mlff ")]


def test_every_page_is_in_the_contents():
    def entries(index):
        folder = index.parent.relative_to(DOCS)
        return {(folder / name).as_posix() for name in re.findall(r"^[\w/]+$", index.read_text(), re.MULTILINE)}

    listed = entries(DOCS / "index.md") | entries(DOCS / "decisions" / "index.md")
    pages = {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")}
    assert listed == pages - {"README", "index"} | {"api/index"}


def test_every_public_name_is_in_the_reference():
    make = runpy.run_path(str(DOCS / "make_api_pages.py"))
    core, contracts = make["core_page"](), make["testing_page"]()
    assert not [name for name in mlff_core._HOME if f":: mlff_core.{name}\n" not in core]
    assert not [name for name in testing.__all__ if f":: mlff_core.testing.{name}\n" not in contracts]


def test_the_quick_start_runs(capsys):
    script = QUICKSTART.split("```python\n")[1].split("```")[0]
    exec(compile(script, "docs/quickstart.md", "exec"), {})
    assert "eV" in capsys.readouterr().out


@pytest.mark.parametrize("line", COMMANDS)
def test_the_commands_of_the_quick_start_exist(line):
    words, group = shlex.split(line)[1:], build()
    name, command, rest = group.resolve_command(group.make_context("mlff", [words[0]]), words)
    while rest and hasattr(command, "resolve_command"):
        context = command.make_context(name, [rest[0]])
        name, command, rest = command.resolve_command(context, rest)
    assert command.make_context(name, rest)
