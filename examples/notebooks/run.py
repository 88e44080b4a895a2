"""Executes the notebooks of this folder and writes them back with their outputs.

    python examples/notebooks/run.py                          # all of them
    python examples/notebooks/run.py 02_molecular_dynamics    # one of them
    python examples/notebooks/run.py --small                  # short runs without output, as in the tests

Needs ``pip install -e ".[all,test]"``. Small runs take their parameters from ``SMALL`` in place of those in the cell
tagged ``parameters``, and make every warning an error.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

FOLDER = Path(__file__).parent
SMALL = {
    "01_quick_start": {"n_angles": 7},
    "02_molecular_dynamics": {"n_steps_nve": 100, "n_steps_langevin": 200, "n_replicas": 3, "n_steps_replicas": 40},
    "03_comparing_models": {"n_molecules": 3, "n_distances": 5},
    "04_benchmarking": {"systems": ["ethanol-9"], "n_repeats": 1, "n_turns": 1, "turn_s": 0.01},
}
STRICT = """
import warnings
warnings.simplefilter("error")
# Third-party, as in pyproject.toml.
warnings.filterwarnings("ignore", "`torch.jit")
"""


def execute(path: Path, *, small: bool = False) -> nbformat.NotebookNode:
    """Return the notebook with its outputs; an error in a cell, or text on stderr, is raised."""
    notebook = nbformat.read(path, as_version=4)
    (parameters,) = (k for k, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    source = notebook.cells[parameters].source
    if small:
        values = SMALL[path.stem]
        notebook.cells[parameters].source += "".join(f"\n{name} = {value!r}" for name, value in values.items()) + STRICT
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=1200,
            startup_timeout=600,
            kernel_name="python3",
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
            # Without opening a port, if the system can avoid it.
            config=Config(
                {"KernelManager": {"transport": "ipc", "ip": f"{folder}/kernel"}} if os.name == "posix" else {}
            ),
        )
        # One thread, so that the kernels' threads do not compete with other work on the machine.
        set_here = {"OMP_NUM_THREADS": "1", "TMPDIR": folder, "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
        client.execute(env={**os.environ, **set_here})
    notebook.cells[parameters].source = source
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                raise SystemExit(f"{path.name} wrote to stderr: {output.text}")
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


def main() -> None:
    """Execute the notebooks on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NOTEBOOK", help="name without ending; all by default")
    parser.add_argument("--small", action="store_true", help="short runs, and write nothing")
    arguments = parser.parse_args()
    for path in sorted(FOLDER.glob("*.ipynb")):
        if arguments.names and path.stem not in arguments.names:
            continue
        notebook = execute(path, small=arguments.small)
        if not arguments.small:
            nbformat.write(notebook, path)
        print(path.name)


if __name__ == "__main__":
    main()
