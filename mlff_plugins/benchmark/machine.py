"""What a benchmark ran on: processor, threads, device, versions, and the commit of the code."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch


def machine(device: torch.device) -> dict[str, Any]:
    """Return what the timings were taken on: processor, threads, device, versions."""
    packages = ("mlff-hub", "torch", "numpy", "ase", "vesin")
    return {
        "processor": _processor(),
        "platform": platform.platform(),
        "torch_threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}},
    }


def commit() -> str | None:
    """Return the commit this package is run from, with ``-dirty`` where files have changed since.

    None where it is installed otherwise, or there is no git.
    """
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} × {names[0]}" if names else platform.processor()
