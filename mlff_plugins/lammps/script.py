"""LAMMPS input files with a model as the pair style ``mlff``."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mlff_core.errors import InputError, MlffError
from mlff_plugins.lammps.driver import Driver, attach

if TYPE_CHECKING:
    from mlff_core.potentials.interface import Potential

_ERROR = re.compile(r"^ERROR( on proc \d+)?: ")

PLACEHOLDER = "zero 1.0 nocoeff"
"""The pair style that LAMMPS sees: no forces, and enough ghost atoms that no atom is lost."""


class Script(NamedTuple):
    """An input file in two parts; the model is attached between them. ``species`` None means by mass."""

    before: str
    species: list[str] | None
    after: str


def split_script(text: str) -> Script:
    """Return the parts of an input file before and after the model's ``pair_coeff``.

    Raises
    ------
    InputError
        There is no ``pair_style mlff``, or no ``pair_coeff * * …`` after it.
    """
    lines = text.splitlines()
    fields = [line.split("#")[0].split() for line in lines]
    styles = [k for k, found in enumerate(fields) if found == ["pair_style", "mlff"]]
    if not styles:
        raise InputError(
            "the input file has no line `pair_style mlff`; write it in place of the pair style, and after it "
            "`pair_coeff * * C H O` with the element of each atom type, or `pair_coeff * *` to find them by mass"
        )
    coefficients = [
        k
        for k, found in enumerate(fields)
        if k > styles[0] and found[:3] == ["pair_coeff", "*", "*"] and "&" not in found
    ]
    if not coefficients:
        raise InputError(
            "the input file has `pair_style mlff` without a `pair_coeff * *` after it; write `pair_coeff * * C H O` on "
            "one line with the element of each atom type, or `pair_coeff * *` to find them by mass"
        )
    lines[styles[0]] = f"pair_style {PLACEHOLDER}"
    here = coefficients[0]
    lines[here], species = "pair_coeff * *", fields[here][3:]
    return Script("\n".join(lines[: here + 1]) + "\n", species or None, "\n".join(lines[here + 1 :]) + "\n")


def run_script(lmp: Any, potential: Potential, text: str, **options: Any) -> Driver:
    """Run an input file in a LAMMPS instance, ``potential`` being its ``pair_style mlff``.

    Parameters
    ----------
    lmp
        An instance of ``lammps.lammps``.
    potential
        The potential that drives it.
    text
        The input file. A ``jump SELF`` in it can reach only labels on the same side of ``pair_coeff``.
    options
        Options of :func:`~mlff_plugins.lammps.driver.attach`.

    Raises
    ------
    InputError
        The file lacks the model's lines, LAMMPS refuses a command, or the run stopped at bad input.
    UnsupportedError
        Other units, several MPI processes, or an element that the model does not know.
    """
    script = split_script(text)
    with tempfile.TemporaryDirectory(prefix="mlff-lammps-") as folder:
        _run_part(lmp, script.before, Path(folder) / "before.lmp")
        driver = attach(lmp, potential, script.species, **options)
        _run_part(lmp, script.after, Path(folder) / "after.lmp")
    return driver


def _run_part(lmp: Any, text: str, path: Path) -> None:
    # A file and not single commands, since loops, labels and triple quotes need one.
    path.write_text(text)
    try:
        lmp.file(str(path))
    except MlffError:
        raise
    except Exception as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
        raise InputError(f"LAMMPS stopped: {_ERROR.sub('', reason)}") from error
