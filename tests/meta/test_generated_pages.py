import runpy
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_command_line_page_is_what_the_commands_say():
    # In a process of its own: other tests add commands of fake plugins to this one.
    code = f"import sys; sys.path.insert(0, {str(DOCS)!r}); import make_cli_page; print(make_cli_page.page(), end='')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (DOCS / "cli.md").read_text(), "run: python docs/make_cli_page.py"


def test_the_page_of_benchmarks_is_what_the_results_say():
    tables = runpy.run_path(str(DOCS.parent / "benchmarks" / "tables.py"))
    assert (DOCS / "benchmarks.md").read_text() == tables["page"](), "run: python benchmarks/tables.py"


def test_the_page_of_students_is_what_was_measured():
    students = runpy.run_path(str(DOCS / "make_students_page.py"))
    assert (DOCS / "students.md").read_text() == students["page"](), "run: python docs/make_students_page.py"
