"""The QCEngine program ``mlff``."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from qcelemental.models.v2 import AtomicResult, Provenance
from qcengine.exceptions import InputError as QCInputError
from qcengine.exceptions import ResourceError, UnknownError
from qcengine.programs.model import ProgramHarness

from mlff_core import __version__
from mlff_core.errors import InputError, MissingDependencyError, MlffError
from mlff_core.plugins.requirements import unmet
from mlff_core.potentials.interface import CHARGES, DEVIATIONS
from mlff_core.units import ANGSTROM_PER_BOHR, EV_PER_HARTREE
from mlff_plugins.qcengine import schema

if TYPE_CHECKING:
    from qcelemental.models.v2 import AtomicInput
    from qcengine.config import TaskConfig

    from mlff_core.potentials.interface import Potential

DRIVERS = ("energy", "gradient", "hessian", "properties")
KEYWORDS = {"device": "auto", "dtype": "float64", "kernel": "auto"}
"""Keywords and their defaults; float64, since geometry optimisers and frequencies depend on small differences."""


class MLFFHarness(ProgramHarness):
    """Serves any model of this package: ``model.method`` is a name from ``mlff models list`` or a path."""

    _defaults: ClassVar[dict[str, Any]] = {
        "name": "mlff",
        "scratch": False,
        "thread_safe": True,
        "thread_parallel": True,
        "node_parallel": False,
        "managed_memory": False,
    }
    version_cache: dict[str, str] = {}  # noqa: RUF012 - `qcengine info` reads this field of the model

    _models: ClassVar[dict[tuple[Any, ...], Potential]] = {}
    _served: ClassVar[dict[str, Potential]] = {}
    _lock: ClassVar[threading.Lock] = threading.Lock()

    @staticmethod
    def found(raise_error: bool = False) -> bool:
        """Return True if all requirements of this program are installed."""
        missing = unmet(("torch", "vesin"))
        if missing and raise_error:
            raise MissingDependencyError(f"mlff cannot run: {'; '.join(missing)}. Install with: pip install mlff-hub")
        return not missing

    def get_version(self) -> str:
        """Return the version of this package."""
        return __version__

    @classmethod
    def serve(cls, potential: Potential) -> str:
        """Register a potential that is in memory, and return its method name."""
        with cls._lock:
            for name, known in cls._served.items():
                if known is potential:
                    return name
            name = f"served-{len(cls._served)}"
            cls._served[name] = potential
        return name

    @classmethod
    def load(cls, method: str, keywords: dict[str, Any]) -> Potential:
        """Return the model of a method name, from the cache if the file has not changed."""
        if method in cls._served:
            return cls._served[method]
        from mlff_core import load
        from mlff_core.models.registry import resolve

        path = Path(resolve(method)).resolve()
        try:
            state = path.stat()
        except OSError:
            return load(method, **keywords)
        key = (str(path), state.st_mtime_ns, state.st_size, *sorted(keywords.items()))
        with cls._lock:
            if key not in cls._models:
                # Only the newest version of a file is kept, or those of an edited model would accumulate in a worker.
                for old in [k for k in cls._models if k[0] == key[0] and k[3:] == key[3:]]:
                    del cls._models[old]
                cls._models[key] = load(path, **keywords)
            return cls._models[key]

    def compute(self, input_data: AtomicInput, config: TaskConfig) -> AtomicResult:
        """Return the result of one task, or raise QCEngine's own exceptions with the messages of this package."""
        self.found(raise_error=True)
        try:
            with torch_threads(config.ncores):
                return self._compute(input_data)
        except MissingDependencyError as error:
            raise ResourceError(str(error)) from error
        except MlffError as error:
            raise QCInputError(str(error)) from error
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise ResourceError(f"mlff ran out of memory: {error}") from error
        except Exception as error:
            raise UnknownError(f"mlff failed: {type(error).__name__}: {error}") from error

    def _compute(self, input_data: AtomicInput) -> AtomicResult:
        specification = input_data.specification
        driver = getattr(specification.driver, "value", str(specification.driver))
        if driver not in DRIVERS:
            raise InputError(f"mlff has the drivers {', '.join(DRIVERS)}, got {driver!r}")
        if specification.model.basis not in (None, "", "(auto)"):
            raise InputError(f"mlff has no basis sets, got basis {specification.model.basis!r}; leave it out")
        potential = self.load(specification.model.method, _checked(dict(specification.keywords)))
        batch = schema.to_batch(input_data.molecule, potential)
        wanted = {"energy", "forces"} | (potential.supports & (DEVIATIONS | CHARGES))
        prediction = potential.predict(batch, want=wanted)
        energy, gradient = schema.from_prediction(prediction)
        properties: dict[str, Any] = {
            "calcinfo_natom": batch.n_atoms,
            "return_energy": energy,
            "return_gradient": gradient,
        }
        if driver == "hessian":
            properties["return_hessian"] = schema.hessian_to_atomic_units(potential.hessian(batch))
        returned: Any = {
            "energy": energy,
            "gradient": gradient,
            "hessian": properties.get("return_hessian"),
            "properties": {name: _plain(value) for name, value in properties.items()},
        }[driver]
        extras: dict[str, Any] = {"mlff": {"model": potential.card.name, "teacher": dict(potential.card.teacher)}}
        if prediction.energy_std is not None:
            extras["mlff"]["energy_std_hartree"] = float(prediction.energy_std[0]) / EV_PER_HARTREE
        if prediction.forces_std is not None:
            deviation = prediction.forces_std.detach().cpu().double().numpy() / schema.FORCE
            extras["mlff"]["gradient_std_hartree_per_bohr"] = deviation.tolist()
        if prediction.charges is not None:
            extras["mlff"]["charges_e"] = prediction.charges.tolist()
        if prediction.dipole is not None:
            extras["mlff"]["dipole_e_bohr"] = (prediction.dipole[0] / ANGSTROM_PER_BOHR).tolist()
        return AtomicResult(
            input_data=input_data,
            molecule=input_data.molecule,
            properties=properties,
            return_result=returned,
            extras=extras,
            provenance=Provenance(creator="mlff-hub", version=__version__, routine="mlff_plugins.qcengine"),
            success=True,
        )


def _checked(keywords: dict[str, Any]) -> dict[str, Any]:
    for name in keywords:
        if name not in KEYWORDS:
            close = difflib.get_close_matches(name, KEYWORDS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise InputError(f"mlff has the keywords {', '.join(KEYWORDS)}, got {name!r}{hint}")
    return {**KEYWORDS, **keywords}


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


@contextmanager
def torch_threads(n_threads: int | None) -> Iterator[None]:
    """Set torch's number of threads inside this context, and restore it afterwards."""
    before = torch.get_num_threads()
    if n_threads:
        torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
