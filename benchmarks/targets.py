"""The targets of speed on a CPU and the measured values; the exit status is 1 if one is missed.

    python -m benchmarks targets                          # from benchmarks/results, as they are
    python -m benchmarks targets --run --peer-envs DIR    # measures first: ten minutes of a quiet machine

``--run`` writes ``peers.json``, ``cpu_kernel.json``, ``threads.json`` and ``fused_files.json`` anew, with ``--data``
``training_step.json`` too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


@dataclass(frozen=True)
class Target:
    """A measured ratio, and its lower limit."""

    name: str
    least: float
    found: float

    @property
    def met(self) -> bool:
        """Whether it is reached."""
        return self.found >= self.least


def read(name: str) -> Any:
    """Return the content of a results file, or None if it is missing."""
    path = RESULTS / name
    return json.loads(path.read_text()) if path.exists() else {"rows": []}


def targets() -> Iterator[Target]:
    """Yield every target that was measured."""
    peers = read("peers.json")
    least = {"22": 9.0, "49": 12.0, "32x49": 12.0, "504": 20.0, "2001": 20.0}
    for row in peers["rows"]:
        if row["peer"] == "schnetpack":
            yield Target(
                f"times as fast as SchNetPack's PaiNN, {row['system']} atoms", least[row["system"]], row["ratio"]
            )
        if row["peer"] == "torchani":
            yield Target(f"times as fast as one member of ANI-2x, {row['system']} atoms", 1.0, row["ratio"])
    if peers["rows"]:
        # What a step takes beyond an idle process: that depends on the build of torch, by 260 MiB.
        peak, idle = peers["peak_memory_mib"], peers["idle_memory_mib"]
        taken = {name: peak[name] - idle[name] for name in peak}
        yield Target("times less memory than SchNetPack, 2001 atoms", 30.0, taken["schnetpack"] / taken["mlff-hub"])
    for row in read("cpu_kernel.json")["rows"]:
        if row["system"] == "water 504" and row["preset"] == "original":
            yield Target("share of the matrix product's floor, 504 atoms", 0.5, row["gemm_ms"] / row["cpu_min_ms"])
    for row in read("threads.json")["rows"]:
        if row["system"] in ("water 504", "water 2001"):
            yield Target(f"two threads over one, {row['preset']}, {row['system']}", 1.7, row["ratio"])
    for row in read("fused_files.json")["rows"]:
        name = f"share of the kernel's speed, fused {row['format']} file, {row['preset']}, {row['system']}"
        yield Target(name, 1 / 1.15, 1 / row["fused_ratio"])
    split = read("multiple_time_steps.json").get("speed", ())
    # Steps at which the energy is measured too: 3 fs, for the student outside with heavier hydrogens.
    for outer, inner, mass, copies, factor in (
        ("so3lr", "organic-original", None, 1, 4.0),
        ("organic-original", "organic-ultra-tiny", 3.0, 16, 2.0),
    ):
        for row in split:
            named = row["outer"], row["inner"], row["hydrogen_mass"], row["copies"], row["outer_step_fs"]
            if named == (outer, inner, mass, copies, 3.0):
                yield Target(f"times the throughput of {outer} alone, with {inner} inside", factor, row["factor"])
    steps = {row["kind"]: row["step_ms"] for row in read("training_step.json")["rows"] if row["preset"] == "original"}
    if steps:
        yield Target(
            "times as fast as double backward, a training step", 3.0, steps["double-backward"] / steps["kernel"]
        )


def measure(peer_envs: str, data: str | None) -> None:
    """Run the benchmarks and write their results."""
    python = sys.executable
    run = [python, "-m", "benchmarks"]
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder) / "original.pt")
        subprocess.run([*run, "random_model", model], check=True, cwd=ROOT)
        command = [str(Path(python).parent / "mlff"), "benchmark", model, "--peer-envs", peer_envs, "--json"]
        found = subprocess.run([*command, "--peers", "schnetpack,torchani"], check=True, capture_output=True, text=True)
        (RESULTS / "peers.json").write_text(found.stdout)
    for name in ("cpu_kernel", "threads", "fused_files"):
        subprocess.run([*run, name, "--out", str(RESULTS / f"{name}.json")], check=True, cwd=ROOT)
    if data is not None:
        command = [*run, "training_step", str(Path(data).resolve()), "--out", str(RESULTS / "training_step.json")]
        subprocess.run(command, check=True, cwd=ROOT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="store_true")
    parser.add_argument("--peer-envs", help="folder of the peers' environments, made by benchmarks/peers/make_envs.py")
    parser.add_argument("--data", help="a labelled set with eight structures of 41 atoms")
    asked = parser.parse_args()
    if asked.run:
        if asked.peer_envs is None:
            parser.error("--run needs --peer-envs")
        measure(asked.peer_envs, asked.data)
    found = list(targets())
    for target in found:
        print(f"{'met   ' if target.met else 'MISSED'} {target.found:8.2f} (at least {target.least:.3g}) {target.name}")
    sys.exit(any(not target.met for target in found))


if __name__ == "__main__":
    main()
