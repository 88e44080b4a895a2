"""Compiles every kernel of an evaluation and a search for a GPU, without having one; prints their names.

Run by a test in a process of its own, since Triton decides at its import whether it compiles or interprets.
"""

import json
import sys

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

import mlff_core.kernels.triton.launch as launching
import mlff_core.kernels.triton.network as network
import mlff_core.kernels.triton.search as searching
import mlff_core.kernels.triton.sums as summing
from mlff_core.kernels.triton.arrays import PaddedInputs, Tiling
from mlff_core.kernels.triton.padded import empty_neighbors
from mlff_core.kernels.triton.parameters import read_parameters
from mlff_core.model.painn import PaiNN
from mlff_core.model.presets import PRESETS
from mlff_core.structures.batch import single

TARGET = GPUTarget("cuda", 90, 32)
POINTERS = {
    torch.float16: "*fp16", torch.float32: "*fp32", torch.float64: "*fp64", torch.int32: "*i32", torch.int64: "*i64",
}  # fmt: skip
done: dict[str, dict[str, int]] = {}


def compile_only(kernel, grid, *arguments, num_warps=4, **constants):
    names = kernel.arg_names
    given = dict(zip(names, arguments, strict=False))
    signature = {name: POINTERS[v.dtype] if isinstance(v, torch.Tensor) else "i32" for name, v in given.items()}
    signature |= dict.fromkeys(constants, "constexpr")
    types = ",".join(sorted(set(signature.values()) & {"*fp16", "*fp64"}))
    flags = ",".join(f"{k}={v}" for k, v in constants.items() if isinstance(v, bool) and v)
    key = f"{kernel.__name__} {types} {flags} {constants.get('BLOCK_F', '')}"
    if key in done:
        return
    # Arrays start at multiples of 16 bytes, as torch allocates them.
    aligned = {(k,): [["tt.divisibility", 16]] for k, v in enumerate(arguments) if isinstance(v, torch.Tensor)}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    binary = triton.compile(source, target=TARGET, options={"num_warps": num_warps})
    assert binary.asm["cubin"]
    done[key] = {"shared_bytes": binary.metadata.shared, "n_warps": num_warps}


for module in (network, searching, summing, launching):
    module.launch = compile_only

n, capacity = 6, 64
wide = "--all" in sys.argv
for preset, dtype, fast, tiling in (
    ("ultra-tiny", torch.float32, False, Tiling(channels=32)),
    ("ultra-tiny", torch.float64, False, Tiling(channels=32)),
    ("original", torch.float32, False, Tiling.suitable(100_000, 112)),
    ("original", torch.float32, True, Tiling.suitable(100_000, 112)),
)[: 4 if wide else 1]:
    model = PaiNN(PRESETS[preset]).to(dtype)
    parameters = read_parameters(model, fast=fast)
    slots = empty_neighbors(n, capacity, torch.device("cpu"))
    batch = single(torch.rand(n, 3), [1] * n, torch.eye(3) * 9, True, dtype=dtype)
    inputs = PaddedInputs(
        batch.positions, batch.cell, torch.zeros(n, dtype=torch.int64), batch.system_idx,
        slots.candidates, slots.shifts, slots.reverse, slots.n_candidates, n,
    )  # fmt: skip
    network.evaluate(parameters, inputs, derivatives=True, virial=True, tiling=tiling)
    search = searching.NeighborSearch(batch, 5.0)
    search.fill(search.sort(batch.positions), slots)
sys.stdout.write(json.dumps(done, indent=1))
