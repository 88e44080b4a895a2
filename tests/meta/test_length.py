"""A file is at most 300 lines long, or says at its top why it is longer."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_file_of_more_than_300_lines_has_a_reason():
    suffixes = {".py", ".h", ".cpp", ".sh"}
    folders = ("mlff_core", "mlff_plugins", "tests", "benchmarks", "examples", "docs")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in suffixes]
    assert len(files) > 500
    long = {path: path.read_text().splitlines() for path in files}
    bad = [path for path, lines in long.items() if len(lines) > 300 and "one file because" not in " ".join(lines[:15])]
    assert [str(path.relative_to(ROOT)) for path in bad] == []
