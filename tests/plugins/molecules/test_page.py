"""The commands of docs/molecules.md print what the page shows."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from mlff_core.cli.main import build

pytest.importorskip("rdkit")
pytest.importorskip("matplotlib")

PAGE = Path(__file__).parents[3] / "docs" / "molecules.md"
BLOCKS = re.findall(r"```console\n\$ (mlff .*?)\n(.*?)```", PAGE.read_text(), re.DOTALL)
NUMBER = re.compile(r"-?\d+\.\d+|\d+")


def test_the_page_shows_every_command():
    assert [line.split()[1] for line, _ in BLOCKS] == ["conformers", "vibrations", "scan", "interaction"]


@pytest.mark.parametrize(("line", "shown"), BLOCKS, ids=[line for line, _ in BLOCKS])
def test_a_command_of_the_page_prints_what_it_shows(line, shown, tmp_path, monkeypatch):
    if "so3lr" in line:
        pytest.importorskip("so3krates_torch")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(build(), shlex.split(line)[1:])
    assert result.exit_code == 0, result.output
    printed = [row.split() for row in result.output.splitlines() if row.split()]
    for row in (row.split() for row in shown.splitlines() if row.split()):
        if row == ["…"] or set("".join(row)) == {"─"}:
            continue
        # Another release of RDKit may embed other geometries: how many led to a conformer is not compared.
        assert any(_agree(row, other) for other in printed), (row, result.output)


def _agree(row, other):
    return len(row) == len(other) and all(_same(a, b) for a, b in zip(row, other, strict=True))


def _same(shown, printed):
    if shown.endswith("×"):
        return printed.endswith("×")
    if NUMBER.sub("", shown) != NUMBER.sub("", printed):
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True)
    return all(abs(float(a) - float(b)) <= max(0.06, 1e-3 * abs(float(a))) for a, b in pairs)
