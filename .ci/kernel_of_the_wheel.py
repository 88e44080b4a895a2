"""Check in an environment with only the wheel that its CPU kernel is used without a compiler.

    python .ci/kernel_of_the_wheel.py

``.ci/run`` and the release workflow run it on each wheel.
"""

import os
import tempfile
from pathlib import Path

# No compiler, and no library of an earlier compilation.
os.environ["PATH"] = ""
os.environ.pop("CXX", None)
os.environ.pop("MLFF_KERNEL", None)
cache = Path(tempfile.mkdtemp())
os.environ["MLFF_CACHE_DIR"] = str(cache)

import torch

import mlff_core
from mlff_core.kernels import build
from mlff_core.kernels.cpu_kernel import variants
from mlff_core.testing import structures

library = Path(build.load_library()._name)
if library != build.installed_library() or "site-packages" not in library.parts:
    raise SystemExit(f"the library is {library}, wanted that of the wheel, {build.installed_library()}")
potential = mlff_core.load("organic-tiny", device="cpu")
if potential.kernel.name != "cpu":
    raise SystemExit(f"the kernel is {potential.kernel.name}, wanted the wheel's own")
batch = structures.to_batch(structures.ethanol())
found = potential.predict(batch)
wanted = mlff_core.load("organic-tiny", device="cpu", kernel="reference").predict(batch)
torch.testing.assert_close(found.forces, wanted.forces, rtol=1e-5, atol=1e-4)
torch.testing.assert_close(found.energy, wanted.energy, rtol=0, atol=1e-3)
if any(cache.iterdir()):
    raise SystemExit(f"something was compiled into {cache}")
print(f"{library.name}: {', '.join(variants())}; forces agree with the reference")
