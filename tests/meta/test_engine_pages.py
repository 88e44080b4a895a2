"""Every engine's page has a script, and a test runs the script."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "engines").glob("*.md"))
TESTS = "\n".join(path.read_text() for path in (ROOT / "tests" / "plugins").rglob("*.py"))


def scripts_of(page):
    folder = ROOT / "examples" / "engines"
    return sorted([*folder.glob(f"{page.stem}_*.py"), *folder.glob(f"{page.stem}/*.xml")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_page_has_a_script_that_it_shows_or_names_and_a_test_runs(page):
    scripts = scripts_of(page)
    assert scripts, f"examples/engines has no {page.stem}_*.py"
    text = page.read_text()
    for script in scripts:
        shown = script.suffix == ".py" and script.read_text().split('"""', 2)[2].strip() in text
        assert shown or script.name in text, f"{page.name} neither shows nor names {script.name}"
        assert script.name in TESTS, f"no test runs {script.name}"
