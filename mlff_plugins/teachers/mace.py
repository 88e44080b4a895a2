"""The MACE models, from a given file; nothing is downloaded.

I. Batatia et al., NeurIPS 2022, arXiv:2206.07697; I. Batatia et al., arXiv:2401.00096 (the models of the Materials
Project); D. P. Kovács et al., J. Am. Chem. Soc. 147, 17598 (2025), arXiv:2312.15211 (organic molecules).
"""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mlff_core.card import ModelCard
from mlff_core.errors import InputError, first_line
from mlff_core.plugins.teacher import Teacher

if TYPE_CHECKING:
    import torch
    from ase import Atoms

    from mlff_core.potentials.interface import Potential

UNSAFE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
"""The package sets this variable when it is imported, which lets ``torch.load`` of the whole process run code."""


class MACE(Teacher):
    """Any MACE model of energies, from the file that its authors give."""

    name = "mace"
    summary = "a MACE model from its file (options weights_path and sha256)"
    requires = ("mace-torch>=0.3.10,<0.4",)
    install_hint = "pip install 'mlff-hub[mace]' in an environment without sevenn"
    package = "mace-torch"
    method = "MACE"
    licence = "MIT"
    elements: ClassVar[tuple[int, ...]] = tuple(range(1, 119))
    gives = frozenset({"energy", "forces", "stress"})
    options: ClassVar[Mapping[str, str]] = {
        "weights_path": "the file of the model (.model); required",
        "sha256": "SHA-256 of that file; required, since opening it runs code in it",
        "head": "head of a model with several; the model's default if left out",
        "device": "auto (default), cpu, cuda, cuda:N",
        "dtype": "float64 (default) or float32",
    }

    def load(self, options: Mapping[str, Any] | None = None) -> Potential:
        """Return a MACE model as a potential; see :meth:`Teacher.load`."""
        given = self.checked_options(options)
        self.ensure_installed()
        from mlff_core.models.devices import resolve_device, resolve_dtype
        from mlff_plugins.teachers.ase_backed import AseBackedPotential

        path, sha256 = _file(given)
        dtype = str(given.get("dtype", "float64"))
        resolve_dtype(dtype)
        calculator = _calculator(path, sha256, given.get("head"), resolve_device(given.get("device", "auto")), dtype)
        network = calculator.models[0]
        head = str(calculator.head)
        card = ModelCard(
            name=self.name,
            elements=tuple(sorted(int(z) for z in calculator.z_table.zs)),
            cutoff=0.0,
            architecture="MACE",
            description=f"{path.name}, head {head}",
            n_parameters=sum(parameter.numel() for parameter in network.parameters()),
            charges=self.charges,
            spin_multiplicities=self.spin_multiplicities,
            teacher=self.lineage(settings={"dtype": dtype, "head": head}, sha256=sha256, method=path.stem),
            limits=("The licence is that of the code; the file of the model may have another.",),
            licence=self.licence,
        )
        return AseBackedPotential(card, self.gives, functools.partial(_emptied, calculator), _mace_globals)


def _file(given: Mapping[str, Any]) -> tuple[Path, str]:
    """Return the path and the hash among the options.

    Raises
    ------
    InputError
        One of them is missing.
    """
    if "weights_path" not in given:
        raise InputError("teacher mace needs the option weights_path: the file of the model")
    path = Path(str(given["weights_path"]))
    if not path.is_file():
        raise InputError(f"the model of mace cannot be read: there is no file {path}")
    if "sha256" not in given:
        raise InputError(
            "teacher mace needs the option sha256, since opening the file of a model runs code in it: "
            f"compare the output of `sha256sum {path}` with what its source says, and give it"
        )
    return path, str(given["sha256"]).lower()


def _calculator(path: Path, sha256: str, head: str | None, device: torch.device, dtype: str) -> Any:
    """Return the package's own ASE calculator.

    Raises
    ------
    InputError
        The file has another hash, is no MACE model, or has no such head.
    """
    import torch

    from mlff_plugins.teachers.pinned import check_sha256

    content = path.read_bytes()
    check_sha256(path, content, sha256, "give the hash of the file that you want to open")
    with _mace_globals(), redirect_stdout(io.StringIO()):
        from mace.calculators import MACECalculator

        try:
            # From the bytes that were hashed, since the file may change meanwhile.
            network = torch.load(io.BytesIO(content), map_location=device, weights_only=False)
            heads = list(getattr(network, "heads", ["Default"]))
            if head is not None and head not in heads:
                raise InputError(f"the model {path.name} has no head {head!r}; it has {', '.join(heads)}")
            chosen = {} if head is None else {"head": head}
            return MACECalculator(models=[network], device=str(device), default_dtype=dtype, **chosen)
        except InputError:
            raise
        except Exception as error:
            # A pickle of anything fails in many ways; all mean the same.
            raise InputError(f"{path} does not hold a MACE model of energies: {first_line(error)}") from error


@contextmanager
def _mace_globals() -> Iterator[None]:
    """Undo what the package does to the process, and enable gradients."""
    import torch

    from mlff_plugins.teachers.torch_globals import torch_globals_kept

    unsafe = os.environ.get(UNSAFE)
    with torch_globals_kept(), torch.inference_mode(False), torch.enable_grad():
        try:
            yield
        finally:
            os.environ.pop(UNSAFE, None)
            if unsafe is not None:
                os.environ[UNSAFE] = unsafe


def _emptied(calculator: Any, atoms: Atoms) -> Any:
    """Return the calculator after clearing the results of the last structure."""
    atoms.info.clear()
    calculator.reset()
    return calculator
