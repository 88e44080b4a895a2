"""The measured time of each teacher, from the file that ``python -m benchmarks teachers`` writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

RESULTS = Path(__file__).with_name("speed.json")


def ms_per_atom(name: str) -> Mapping[str, float]:
    """Return the processor time of a teacher for an atom, ms, by ``"molecule"`` and ``"crystal"``; empty if unknown."""
    return _measured().get(name, {})


@cache
def _measured() -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = json.loads(RESULTS.read_text())["ms_per_atom"]
    return found
