"""Neighbour search: the candidates of each atom from the bins around its own, and the reverse edge of each pair."""

import triton
import triton.language as tl

from mlff_core.kernels.triton.jit.edges import shifted, unpack_shift


@triton.jit
def pack_shift(a, b, c):
    """Return three whole numbers packed into one."""
    offset = 0x100000
    return (a + offset).to(tl.int64) | ((b + offset).to(tl.int64) << 21) | ((c + offset).to(tl.int64) << 42)


@triton.jit
def floor_divide(a, b):
    """Return ⌊a / b⌋ of whole numbers, b positive."""
    quotient = a // b
    return tl.where(quotient * b > a, quotient - 1, quotient)


@triton.jit
def search_bins(
    wrapped, wraps, bins, systems, cells, periodic, grids, reaches, first_bins, bin_starts, members,
    candidates, shifts, n_candidates, capacity, CUTOFF: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """List the atoms within the cutoff of one atom, in the order of bins; count all, also beyond the capacity."""
    atom = tl.program_id(0).to(tl.int64)
    system = tl.load(systems + atom)
    cell = cells + 9 * system
    here_x = tl.load(wrapped + 3 * atom)
    here_y = tl.load(wrapped + 3 * atom + 1)
    here_z = tl.load(wrapped + 3 * atom + 2)
    dtype = here_x.dtype
    own_a = tl.load(wraps + 3 * atom)
    own_b = tl.load(wraps + 3 * atom + 1)
    own_c = tl.load(wraps + 3 * atom + 2)
    n_a = tl.load(grids + 3 * system)
    n_b = tl.load(grids + 3 * system + 1)
    n_c = tl.load(grids + 3 * system + 2)
    reach_a = tl.load(reaches + 3 * system)
    reach_b = tl.load(reaches + 3 * system + 1)
    reach_c = tl.load(reaches + 3 * system + 2)
    width_b = 2 * reach_b + 1
    width_c = 2 * reach_c + 1
    n_around = (2 * reach_a + 1) * width_b * width_c
    first_bin = tl.load(first_bins + system)
    row = atom * capacity
    found = 0
    for k in range(0, n_around):
        bin_a = tl.load(bins + 3 * atom) + k // (width_b * width_c) - reach_a
        bin_b = tl.load(bins + 3 * atom + 1) + (k // width_c) % width_b - reach_b
        bin_c = tl.load(bins + 3 * atom + 2) + k % width_c - reach_c
        image_a = floor_divide(bin_a, n_a)
        image_b = floor_divide(bin_b, n_b)
        image_c = floor_divide(bin_c, n_c)
        there = (image_a == 0) | (tl.load(periodic + 3 * system) != 0)
        there &= (image_b == 0) | (tl.load(periodic + 3 * system + 1) != 0)
        there &= (image_c == 0) | (tl.load(periodic + 3 * system + 2) != 0)
        number = ((bin_a - image_a * n_a) * n_b + bin_b - image_b * n_b) * n_c + bin_c - image_c * n_c
        number = first_bin + tl.where(there, number, 0)
        begin = tl.load(bin_starts + number)
        end = tl.where(there, tl.load(bin_starts + number + 1), begin)
        move_x, move_y, move_z = shifted(pack_shift(image_a, image_b, image_c), cell, dtype)
        for start in range(begin, end, BLOCK):
            member = start + tl.arange(0, BLOCK)
            valid = member < end
            j = tl.load(members + member, mask=valid, other=0)
            x = tl.load(wrapped + 3 * j, mask=valid, other=0.0) - here_x + move_x
            y = tl.load(wrapped + 3 * j + 1, mask=valid, other=0.0) - here_y + move_y
            z = tl.load(wrapped + 3 * j + 2, mask=valid, other=0.0) - here_z + move_z
            itself = (j == atom) & (image_a == 0) & (image_b == 0) & (image_c == 0)
            near = valid & (x * x + y * y + z * z < CUTOFF * CUTOFF) & (itself == 0)
            place = found + tl.cumsum(near.to(tl.int32), axis=0) - 1
            kept = near & (place < capacity)
            code = pack_shift(
                image_a + own_a - tl.load(wraps + 3 * j, mask=valid, other=0),
                image_b + own_b - tl.load(wraps + 3 * j + 1, mask=valid, other=0),
                image_c + own_c - tl.load(wraps + 3 * j + 2, mask=valid, other=0),
            )
            tl.store(candidates + row + place, j.to(tl.int32), mask=kept)
            tl.store(shifts + row + place, code, mask=kept)
            found += tl.sum(near.to(tl.int32), axis=0)
    tl.store(n_candidates + atom, found)


@triton.jit
def find_reverse(candidates, shifts, n_candidates, reverse, capacity, BLOCK_M: tl.constexpr, BLOCK: tl.constexpr):
    """Write, for each slot of one atom, the slot of its neighbour that holds the same pair; −1 where there is none."""
    atom = tl.program_id(0).to(tl.int64)
    n = tl.minimum(tl.load(n_candidates + atom), capacity)
    for start in range(0, n, BLOCK_M):
        slot = start + tl.arange(0, BLOCK_M)
        valid = slot < n
        j = tl.load(candidates + atom * capacity + slot, mask=valid, other=0).to(tl.int64)
        a, b, c = unpack_shift(tl.load(shifts + atom * capacity + slot, mask=valid, other=0))
        wanted = pack_shift(-a, -b, -c)
        length = tl.minimum(tl.load(n_candidates + j, mask=valid, other=0), capacity)
        longest = tl.max(length, axis=0)
        result = tl.full([BLOCK_M], -1, tl.int32)
        for first in range(0, longest, BLOCK):
            other = first + tl.arange(0, BLOCK)
            place = j[:, None] * capacity + other[None, :]
            listed = (other[None, :] < length[:, None]) & valid[:, None]
            match = tl.load(candidates + place, mask=listed, other=-1) == atom
            match &= tl.load(shifts + place, mask=listed, other=0) == wanted[:, None]
            result = tl.maximum(result, tl.max(tl.where(match & listed, other[None, :], -1), axis=1))
        tl.store(reverse + atom * capacity + slot, result, mask=valid)
