import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from mlff_core.config import read_toml
from mlff_core.models import registry
from mlff_core.models.checkpoint import load_checkpoint

DOCS = Path(__file__).parents[2] / "docs"


def test_the_command_line_page_is_what_the_commands_say():
    # In a process of its own: other tests add commands of fake plugins to this one.
    code = f"import sys; sys.path.insert(0, {str(DOCS)!r}); import make_cli_page; print(make_cli_page.page(), end='')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (DOCS / "cli.md").read_text(), "run: python docs/make_cli_page.py"


def test_the_page_of_benchmarks_is_what_the_results_say():
    tables = runpy.run_path(str(DOCS.parent / "benchmarks" / "tables.py"))
    assert (DOCS / "benchmarks.md").read_text() == tables["page"](), "run: python -m benchmarks tables"


def test_the_page_of_students_is_what_was_measured(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    students = runpy.run_path(str(DOCS / "make_students_page.py"))
    assert (DOCS / "students.md").read_text() == students["page"](), "run: python docs/make_students_page.py"


def test_the_table_of_judges_is_what_was_measured():
    judges = runpy.run_path(str(DOCS / "make_judges_table.py"))
    assert (DOCS / "judges.md").read_text() == judges["page"](), "run: python docs/make_judges_table.py"


def test_the_tables_of_metals_are_what_was_measured():
    metals = runpy.run_path(str(DOCS / "make_metals_page.py"))
    assert (DOCS / "metals.md").read_text() == metals["page"](), "run: python docs/make_metals_page.py"


def test_the_table_of_recipes_is_what_was_measured():
    recipes = runpy.run_path(str(DOCS / "make_recipes_table.py"))
    assert (DOCS / "training.md").read_text() == recipes["page"](), "run: python docs/make_recipes_table.py"


def test_the_tables_of_multiple_time_steps_are_what_was_measured():
    made = runpy.run_path(str(DOCS / "make_mts_tables.py"))
    assert (DOCS / "multiple_time_steps.md").read_text() == made["page"](), "run: python docs/make_mts_tables.py"


@pytest.mark.parametrize("name", ["organic-original", "organic-tiny", "organic-ultra-tiny"])
def test_the_last_stage_told_of_a_student_is_the_one_that_made_its_file(name):
    told = read_toml(DOCS.parent / "examples" / "train" / f"{name}.stages.toml")
    stages = told["stage"]
    assert sorted((DOCS / "students").glob(f"{name}.stage*.csv")) == sorted(
        DOCS / "students" / f"{name}.stage{number}.csv" for number in range(1, len(stages) + 1)
    )
    _, card = load_checkpoint(registry.find_model(name).path)
    assert card.dataset["sha256"] == stages[-1]["data"]["sha256"]
    assert card.dataset["replay"]["sha256"] == stages[-1]["second_data"]["sha256"]
    assert card.training["optimizer"]["lr"] == stages[-1]["settings"]["optimizer.lr"]
    assert len(card.training.get("average_of", ())) == len(told["average_of"])


def test_the_readme_says_what_was_measured():
    def rows(name):
        return json.loads((DOCS.parent / "benchmarks" / "results" / name).read_text())["rows"]

    kernel = {(row["preset"], row["system"]): row["cpu_median_ms"] for row in rows("cpu_kernel.json")}
    ratio = {row["system"]: row["ratio"] for row in rows("peers.json") if row["peer"] == "schnetpack"}
    readme = " ".join((DOCS.parent / "README.md").read_text().split())
    for preset in ("original", "tiny", "ultra-tiny"):
        errors = json.loads((DOCS / "students" / f"organic-{preset}.test_scaffolds.json").read_text())
        assert f"on {errors['n_molecules']} molecules" in readme
        found = readme.split(f"| `organic-{preset}` |")[1]
        assert found.split(" | ")[1:6] == [
            f"{errors['model']['n_parameters']:,}",
            f"{errors['force_mae']:.3f} eV/Å",
            f"{errors['energy_mae_mev_per_atom']:.1f} meV/atom",
            f"{kernel[preset, '49 atoms']:.2g} ms",
            f"{kernel[preset, 'water 2001']:.0f} ms",
        ]
    assert f"{ratio['49']:.0f} times less than SchNetPack's PaiNN of that size at 49 atoms" in readme
    assert f"and {ratio['2001']:.0f} times at 2,001" in readme
