"""The path of the file for i-PI's ``<ffdirect>``."""

from __future__ import annotations

from pathlib import Path

PES_FILE = Path(__file__).with_name("pes_driver.py")
"""The path for ``<pes_path>`` of i-PI's ``<ffdirect>``."""
