"""Write ``docs/benchmarks.md`` and its plot from ``benchmarks/results/*.json``: ``python -m benchmarks tables``."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
PLOT = ROOT / "docs" / "growth.svg"

Content = dict[str, Any]

HEADER = """# Benchmarks

This page compares the speed and memory of a student with other programs, and shows what each engine adds. To time a
model on your own machine, type `mlff benchmark organic-tiny`.

Made by `python -m benchmarks tables` from `benchmarks/results/*.json`; a test compares them. `benchmarks/README.md`
says how each time is measured.
"""


def read(name: str) -> Content:
    """Return the content of a results file."""
    return json.loads((RESULTS / name).read_text())


def page() -> str:
    """Return the page with all measured results."""
    parts = [HEADER]
    for name, section in SECTIONS:
        if (RESULTS / name).exists():
            parts += section(read(name))
    return "\n".join(parts) + "\n"


def about(content: dict[str, Any]) -> str:
    """Return a line with machine, versions and commit."""
    machine = content["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return f"{machine['processor']}; {versions}; commit {(content['commit'] or 'unknown')}.\n"


def table(heads: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table with text in its first column and numbers in the others."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def rows_of(content: Content, label: str, *cells: str | Callable[[Content], str]) -> list[list[str]]:
    """Return a row of a table for each row of the content; cells are formats of its entries, or functions of it."""
    return [
        [label.format_map(row), *(cell(row) if callable(cell) else cell.format_map(row) for cell in cells)]
        for row in content["rows"]
    ]


def peers(content: Content) -> Iterator[str]:
    """Yield the section on the default peers."""
    yield "## Comparison with other programs\n"
    yield (
        "Processor time of a complete MD step with moving atoms on one thread, ms (median). In parentheses: the "
        "ratio to\n"
        "`mlff-hub`, from runs that alternate. The systems are molecules of 22 and 49 atoms, a batch of 32 "
        "molecules of 49\n"
        "atoms, and periodic water of 504 and 2001 atoms. The student is `original`.\n"
    )
    yield from comparison(content)


def comparison(content: Content) -> Iterator[str]:
    """Yield the table of one run with peers, and their descriptions."""
    rows = content["rows"]
    systems = list(dict.fromkeys(row["system"] for row in rows))
    found = {(row["peer"], row["system"]): row for row in rows}
    lines = [[peer, *(cell(found[peer, system]) for system in systems)] for peer in content["about"]]
    yield table(["", *(system.replace("x", " × ") for system in systems)], lines)
    missing = sorted({row["message"] for row in rows if row["message"]})
    if missing:
        yield "\n".join(f"- Not timed: {message}" for message in missing) + "\n"
    yield about(content)
    for peer, description in content["about"].items():
        if "model" in description:
            versions = ", ".join(f"{key} {value}" for key, value in description["versions"].items())
            yield f"- {peer}: {description['model']}. Neighbours: {description['neighbours']}. {versions}."
    yield ""


def cell(row: dict[str, Any]) -> str:
    """Return the text of one timing."""
    if row["message"]:
        return "–"
    digits = 2 if row["cpu_ms_median"] < 100 else 0
    text = f"{row['cpu_ms_median']:.{digits}f}"
    return text if row["peer"] == "mlff-hub" else f"{text} ({row['ratio']:.1f}×)"


def memory(content: Content) -> Iterator[str]:
    """Yield the section on memory."""
    peaks, idle = content["peak_memory_mib"], content["idle_memory_mib"]
    yield f"## Memory\n\nPeak memory of a new process, water of {content['memory_system']} atoms, MiB.\n"
    rows = [[peer, f"{idle[peer]:.0f}", f"{peaks[peer]:.0f}", f"{peaks[peer] - idle[peer]:.0f}"] for peer in peaks]
    yield table(["", "before the first step", "after three steps", "difference"], rows)


def floor(content: Content) -> Iterator[str]:
    """Yield the section on the kernel and the limit of the processor."""
    yield (
        "## CPU kernel and the limit of the processor\n\nProcessor time of a step with moving atoms, ms, one "
        "thread, random weights:\n"
        "the reference, the CPU kernel with its instruction set, and torch's matrix product with the same number of\n"
        "multiplications. The share is that of the product in the shortest step of the kernel, neighbour search "
        "included.\n"
    )
    times = (f"{{{key}:.3g}}" for key in ("reference_median_ms", "cpu_median_ms", "cpu_min_ms", "gemm_ms"))
    rows = rows_of(
        content, "{preset}, {system}", "`{variant}`", *times, lambda row: f"{row['gemm_ms'] / row['cpu_min_ms']:.0%}"
    )
    kernel = ("kernel, median", "kernel, shortest")
    yield table(["", "instructions", "reference, median", *kernel, "product", "share"], rows)
    yield about(content)


def threads(content: Content) -> Iterator[str]:
    """Yield the section on a second thread."""
    yield "## Two threads\n\nWall time of a step with moving atoms, ms; runs with one and two threads alternate.\n"
    rows = rows_of(content, "{preset}, {system}", "{one_thread_ms:.3g}", "{two_threads_ms:.3g}", "{ratio:.2f}")
    yield table(["", "one thread", "two threads", "ratio"], rows)
    yield about(content)


def charges(content: Content) -> Iterator[str]:
    """Yield the section on charges."""
    yield (
        "## Charges\n\nProcessor time of a step of a student with a readout of charges relative to one without, one "
        "thread, turn by turn: the kernel's\nshare is within 3 %; on small systems the sums for the check of the total "
        "charge add about 10 µs.\n"
    )
    rows = rows_of(
        content,
        "{preset}, {system}",
        "{ms:.3g}",
        "{ratio, charges not asked for:.2f}",
        "{ratio, charges asked for:.2f}",
    )
    yield table(["", "without a readout, ms", "charges not asked for", "charges asked for"], rows)
    yield about(content)


def training(content: Content) -> Iterator[str]:
    """Yield the section on training steps."""
    yield (
        "## Training\n\nOne training step with energies and forces, one thread, 8 structures of "
        f"{content['n_atoms'] // 8} atoms:\nprocessor time, and relative difference of the gradient from double "
        "backward.\n"
    )
    slow = {row["preset"]: row["step_ms"] for row in content["rows"] if row["kind"] == "double-backward"}
    rows = rows_of(
        content,
        "{preset}, {kind}",
        "{step_ms:.1f}",
        lambda row: f"{slow[row['preset']] / row['step_ms']:.1f}×",
        "{gradient_error:.0e}",
    )
    yield table(["", "step, ms", "speed-up", "error of the gradient"], rows)
    yield about(content)


def engines(content: Content) -> Iterator[str]:
    """Yield the section on the overhead of engines."""
    yield (
        f"## Engines\n\nA step in each engine with `{content['model']}`, the same form of the model\n"
        "alone, and the engine with a force of zero: processor time on one thread, ms (wall time for i-PI). The "
        "ratio is\n"
        "the first time divided by the sum of the other two, from runs that alternate.\n"
    )
    times = ("{step_ms:.3f}", "{direct_ms:.3f}", "{zero_ms:.3f}")
    rows = rows_of(content, "{engine}, {system} atoms", *times, "{ratio:.2f}")
    yield table(["", "step", "model alone", "engine alone", "ratio"], rows)
    yield about(content)


def profiles(content: Content) -> Iterator[str]:
    """Yield the section on files that cannot use the CPU kernel."""
    yield (
        f"## Exported files: time by operator\n\nTorchForce and ONNX Runtime run `{content['model']}` as a graph of\n"
        "operators, without Python and without the CPU kernel. Between two operators, all channels of all edges are\n"
        "written to memory and read again. Processor time on one thread, ms, that of the CPU kernel, and the share of\n"
        "the operators in the time.\n"
    )
    kinds = list(content["rows"][0]["shares"])
    shares = (f"{{shares[{kind}]:.0%}}" for kind in kinds)
    rows = rows_of(content, "{file}, {system} atoms", "{step_ms:.1f}", "{kernel_ms:.1f}", *shares)
    yield table(["", "step", "kernel", *kinds], rows)
    yield about(content)


def growth(content: Content) -> Iterator[str]:
    """Yield the section on scaling."""
    yield (
        "## Scaling with system size\n\nPeriodic water at one density, one thread: processor time of a step "
        "that uses the\n"
        "stored neighbour list and of a step with a search, and memory in addition to that of an idle process.\n"
    )
    rows = rows_of(
        content,
        "{n_atoms:,}",
        "{step_ms:.1f}",
        "{search_step_ms:.1f}",
        lambda row: f"{1e3 * row['step_ms'] / row['n_atoms']:.0f}",
        "{added_mib:.0f}",
    )
    yield table(["atoms", "step, ms", "with a search, ms", "µs per atom", "memory, MiB"], rows)
    exponents = content["exponents"]
    yield (
        f"Fitted exponents: {exponents['step_ms']:.3f} (steps), {exponents['search_step_ms']:.3f} (with a search), "
        f"{content['memory_exponent']:.3f} (memory, from 999 atoms on).\n\n![Time and memory against the number "
        "of atoms](growth.svg)\n"
    )
    yield about(content)


def drift(content: Content) -> Iterator[str]:
    """Yield the section on energy drift."""
    yield (
        f"## Energy drift\n\nVelocity Verlet, {content['timestep_fs']} fs, float32, {content['system']}, "
        f"{content['steps']}\n"
        f"steps from 300 K, `{content['model']}`: linear drift of the total energy, and the fluctuation around it.\n"
    )
    lines = []
    for kernel in dict.fromkeys(row["kernel"] for row in content["rows"]):
        rows = [row for row in content["rows"] if row["kernel"] == kernel]
        drifts = [row["drift_mev_per_atom_ps"] for row in rows]
        lines.append(
            [
                kernel,
                ", ".join(f"{drift:+.4f}" for drift in drifts),
                f"{statistics.mean(map(abs, drifts)):.4f}",
                f"{statistics.mean(row['fluctuation_mev_per_atom'] for row in rows):.4f}",
            ]
        )
    yield table(["kernel", "drift, meV/atom/ps, each run", "mean magnitude", "fluctuation, meV/atom"], lines)
    yield about(content)


SECTIONS: tuple[tuple[str, Callable[[Content], Iterator[str]]], ...] = (
    ("peers.json", peers),
    ("peers_more.json", comparison),
    ("peers.json", memory),
    ("cpu_kernel.json", floor),
    ("threads.json", threads),
    ("charge_readout.json", charges),
    ("engines.json", engines),
    ("profiles.json", profiles),
    ("growth.json", growth),
    ("drift.json", drift),
    ("training_step.json", training),
)
"""Sections in the order of the page; without its results file a section is left out."""


def plot() -> None:
    """Draw time and memory against atoms."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "growth"
    content = read("growth.json")
    atoms = [row["n_atoms"] for row in content["rows"]]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for key, label in (("step_ms", "under the skin"), ("search_step_ms", "with a search")):
        values = [row[key] for row in content["rows"]]
        axes[0].loglog(atoms, values, "o-", label=f"{label}: exponent {content['exponents'][key]:.3f}")
    axes[0].set(xlabel="atoms", ylabel="processor time of a step, ms")
    axes[0].legend(frameon=False)
    axes[1].loglog(atoms, [row["added_mib"] for row in content["rows"]], "o-")
    axes[1].set(xlabel="atoms", ylabel="memory for the structure, MiB")
    figure.savefig(PLOT, metadata={"Date": None})


def main() -> None:
    """Write the page and the plot."""
    PAGE.write_text(page())
    if (RESULTS / "growth.json").exists():
        plot()


if __name__ == "__main__":
    main()
