"""All checks, tests and timings of the GPU kernels in one command, in half an hour on one GPU.

    python -m benchmarks gpu --out FOLDER [--sections latency,throughput,…] [--budget-s 450]

    TRITON_INTERPRET=1 python -m benchmarks gpu --dry-run --out FOLDER

``FOLDER/gpu.json`` is written after each section. Each section has a share of the time budget; at the end of the budget
the results so far are kept. The error of a failed section is recorded, and the next section runs. The exit status is 1
if a section failed, ran out of time or found a value outside its tolerance. Times are medians of wall time after a
warm-up; the host waits for the GPU after each call. ``--dry-run`` runs everything with tiny sizes on a CPU in Triton's
interpreter: it tests this script, and its times have no meaning.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import mlff_core
from benchmarks.speed.gpu_sections.bench import BUDGET_S, Bench, OutOfTimeError
from benchmarks.speed.gpu_sections.checks import (
    conservation,
    finite_differences,
    graph_and_plain,
    kernel_and_reference,
    neighbor_search,
)
from benchmarks.speed.gpu_sections.many_molecules import many_molecules
from benchmarks.speed.gpu_sections.marked_tests import tests
from benchmarks.speed.gpu_sections.steps import latency, throughput, tilings
from benchmarks.speed.gpu_sections.training import training
from mlff_plugins.benchmark.machine import commit

DRY_BUDGET_S = 86_400.0
GRACE_S = 10.0
"""Seconds after the end of its time at which a section is interrupted."""
Section = Callable[[Bench, dict[str, Any]], None]
SECTIONS: dict[str, tuple[Section, float]] = {
    "kernel_and_reference": (kernel_and_reference, 0.25),
    "latency": (latency, 0.1),
    "throughput": (throughput, 0.15),
    "many_molecules": (many_molecules, 0.25),
    "training": (training, 0.35),
    "finite_differences": (finite_differences, 0.05),
    "neighbor_search": (neighbor_search, 0.1),
    "graph_and_plain": (graph_and_plain, 0.05),
    "conservation": (conservation, 0.1),
    "tests": (tests, 0.3),
    "tilings": (tilings, 0.3),
}
"""Sections by importance, with the share of the budget for each."""
TARGETS = (
    ("latency", "float32", "median_ms", "at most", 0.18),
    ("throughput", "float32", "atoms_per_s", "at least", 4e6),
    ("throughput", "fast", "atoms_per_s", "at least", 6e6),
    ("many_molecules", "torch-sim, float32", "atoms_per_s", "at least", 3e6),
    ("training", "finite-difference, float32, 400 structures", "atoms_per_s", "at least", 3e5),
)
"""Targets on an H200; the record shows which are met."""


def machine(bench: Bench) -> dict[str, Any]:
    """Return machine and versions."""
    import triton

    gpu = torch.cuda.get_device_properties(0) if bench.device.type == "cuda" else None
    return {
        "device": str(gpu) if gpu else f"none (dry run on {platform.machine()})",
        "versions": {
            "mlff": mlff_core.__version__, "torch": torch.__version__, "triton": triton.__version__,
            "cuda": torch.version.cuda, "python": platform.python_version(),
        },
        "commit": commit(),
        "dry_run": bench.dry,
    }  # fmt: skip


def compared(sections: dict[str, Any]) -> list[dict[str, Any]]:
    """Return each target with the measured value, None if it was not measured."""
    rows = []
    for section, row, name, relation, target in TARGETS:
        value = sections.get(section, {}).get(row, {}).get(name)
        met = None if value is None else value <= target if relation == "at most" else value >= target
        rows.append(
            {"what": f"{section}: {row}, {name}", "target": f"{relation} {target:g}", "measured": value, "met": met}
        )
    return rows


def run(bench: Bench, section: Section, share: float) -> dict[str, Any]:
    """Return the results of a section so far, and the reason of an early end."""
    result: dict[str, Any] = {}

    def interrupt(*_: Any) -> None:
        raise OutOfTimeError

    previous, before = signal.signal(signal.SIGALRM, interrupt), (0.0, 0.0)
    try:
        bench.begin(share)
        before = signal.setitimer(signal.ITIMER_REAL, bench.left_s() + GRACE_S)
        section(bench, result)
    except OutOfTimeError:
        result["error"] = "its time was over"
    except Exception:
        result["error"] = traceback.format_exc(limit=-4)
    finally:
        # pytest may have set its own timer.
        signal.signal(signal.SIGALRM, previous)
        signal.setitimer(signal.ITIMER_REAL, *before)
    result["ok"] = "error" not in result and all(row["ok"] for row in result.get("rows", {}).values())
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=os.environ.get("OUT"), help="folder for gpu.json; else $OUT")
    parser.add_argument("--sections", default=",".join(SECTIONS))
    parser.add_argument(
        "--budget-s", type=float, help=f"for all sections; else {BUDGET_S:.0f}, and a day for a dry run"
    )
    parser.add_argument("--dry-run", action="store_true")
    given = parser.parse_args()
    if given.out is None:
        parser.error("give the folder of gpu.json with --out or the environment variable OUT")
    if not given.dry_run and not torch.cuda.is_available():
        parser.error("no CUDA GPU is here; --dry-run does everything at tiny sizes on the CPU")
    if given.dry_run and os.environ.get("TRITON_INTERPRET") != "1":
        parser.error("a dry run needs TRITON_INTERPRET=1 in the environment")
    unknown = set(given.sections.split(",")) - set(SECTIONS)
    if unknown:
        parser.error(f"no section is called {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    path = Path(given.out) / "gpu.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    budget_s = given.budget_s or (DRY_BUDGET_S if given.dry_run else BUDGET_S)
    bench = Bench(dry=given.dry_run, budget_s=budget_s)
    record: dict[str, Any] = {"machine": machine(bench), "sections": {}}
    good = True
    for name in given.sections.split(","):
        start = time.perf_counter()
        outcome = run(bench, *SECTIONS[name])
        outcome["seconds"] = round(time.perf_counter() - start, 2)
        record["sections"][name] = outcome
        record["targets"] = compared(record["sections"])
        good &= outcome["ok"]
        part = path.with_suffix(".part")
        part.write_text(json.dumps(record, indent=1))
        part.replace(path)
        wrong = [row for row, values in outcome.get("rows", {}).items() if not values["ok"]]
        said = str(outcome["error"]).strip().splitlines()[-1] if "error" in outcome else "ok"
        print(f"{name}: {f'outside: {wrong}' if wrong else said} ({outcome['seconds']} s)", flush=True)
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()
    for row in record["targets"]:
        if row["measured"] is not None:
            print(f"{row['what']}: {row['measured']:.4g}, {row['target']} wanted")
    print(path)
    return 0 if good else 1
