"""Write ``docs/students.md`` from what ``examples/train/ship.py`` measured: ``python docs/make_students_page.py``."""

from __future__ import annotations

from collections.abc import Iterator

from students_page.errors import groups, head, liquids, table
from students_page.goals import short
from students_page.making_and_limits import limits, making
from students_page.measured import DOCS, FOLDER, NAMES, found
from students_page.stages import curves, draw_curves


def page() -> str:
    """Return the page."""
    unseen = found("test_scaffolds")
    parts = (
        head(unseen),
        table(unseen),
        limits(),
        groups(unseen),
        liquids(found("test_liquids")),
        short(unseen),
        _figures(),
        making(),
        curves(),
    )
    return "\n".join(line for part in parts for line in part)


def _figures() -> Iterator[str]:
    yield "## Force errors in six panels\n"
    yield "`mlff validate --out` writes such a plot for any model; [validation](validation.md) explains the panels.\n"
    for name in NAMES:
        yield f"![Forces of {name} compared with the teacher's](students/{name}.png)\n"


if __name__ == "__main__":
    draw_curves(FOLDER / "learning_curves.png")
    (DOCS / "students.md").write_text(page())
