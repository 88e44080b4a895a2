"""Where the file for i-PI's ``<ffdirect>`` lies, which i-PI opens by its path."""

from __future__ import annotations

from pathlib import Path

PES_FILE = Path(__file__).with_name("pes_driver.py")
"""What ``<pes_path>`` of i-PI's ``<ffdirect>`` wants."""
