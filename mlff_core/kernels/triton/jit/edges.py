"""From candidates to edges, and from gradients of edges to forces and virial. One program computes one atom."""

import triton
import triton.language as tl

from mlff_core.kernels.triton.jit.radial import held_distance, repulsion


@triton.jit
def unpack_shift(code):
    """Return the three whole numbers of a cell shift from 21 bits each."""
    mask = 0x1FFFFF
    offset = 0x100000
    return (code & mask) - offset, ((code >> 21) & mask) - offset, ((code >> 42) & mask) - offset


@triton.jit
def shifted(code, cell, dtype: tl.constexpr):
    """Return shift · cell for each code, the cell's rows being lattice vectors."""
    a, b, c = unpack_shift(code)
    a = a.to(dtype)
    b = b.to(dtype)
    c = c.to(dtype)
    x = a * tl.load(cell) + b * tl.load(cell + 3) + c * tl.load(cell + 6)
    y = a * tl.load(cell + 1) + b * tl.load(cell + 4) + c * tl.load(cell + 7)
    z = a * tl.load(cell + 2) + b * tl.load(cell + 5) + c * tl.load(cell + 8)
    return x, y, z


@triton.jit
def pack_edges(
    positions, species, cells, systems, candidates, shifts, n_candidates, screening, ranges, prefactors,
    neighbors, geometry, counts, places, closest, energies, capacity,
    N_SPECIES: tl.constexpr, CUTOFF: tl.constexpr, CORE: tl.constexpr, CORE_WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Keep the candidates within the cutoff, in order, with their geometry, and sum their repulsion energies."""
    atom = tl.program_id(0).to(tl.int64)
    n = tl.minimum(tl.load(n_candidates + atom), capacity)  # more have overflowed, which the caller sees
    row = atom * capacity
    here_x = tl.load(positions + 3 * atom)
    here_y = tl.load(positions + 3 * atom + 1)
    here_z = tl.load(positions + 3 * atom + 2)
    cell = cells + 9 * tl.load(systems + atom)
    own_species = tl.load(species + atom) * N_SPECIES
    dtype = here_x.dtype
    found = 0
    nearest = tl.full([], 1e30, dtype)
    energy = tl.full([], 0.0, dtype)
    for start in range(0, n, BLOCK):
        slot = start + tl.arange(0, BLOCK)
        valid = slot < n
        j = tl.load(candidates + row + slot, mask=valid, other=0)
        sx, sy, sz = shifted(tl.load(shifts + row + slot, mask=valid, other=0), cell, dtype)
        x = tl.load(positions + 3 * j, mask=valid, other=0.0) - here_x + sx
        y = tl.load(positions + 3 * j + 1, mask=valid, other=0.0) - here_y + sy
        z = tl.load(positions + 3 * j + 2, mask=valid, other=0.0) - here_z + sz
        squared = x * x + y * y + z * z
        # NaN counts as an overlap, which is refused; otherwise the pair would silently be left out.
        squared = tl.where(squared == squared, squared, 0.0)
        inside = valid & (squared < CUTOFF * CUTOFF)
        nearest = tl.minimum(nearest, tl.min(tl.where(inside, squared, 1e30), axis=0))
        r = tl.sqrt(tl.where(inside & (squared > 0), squared, 1.0))
        place = found + tl.cumsum(inside.to(tl.int32), axis=0) - 1
        tl.store(places + row + slot, tl.where(inside, place, -1), mask=valid)
        tl.store(neighbors + row + place, j, mask=inside)
        out = geometry + 6 * row + place
        tl.store(out, x / r, mask=inside)
        tl.store(out + capacity, y / r, mask=inside)
        tl.store(out + 2 * capacity, z / r, mask=inside)
        tl.store(out + 3 * capacity, r, mask=inside)
        pair = own_species + tl.load(species + j, mask=valid, other=0)
        seen, d_seen = held_distance(r, tl.load(ranges + pair), CORE, CORE_WIDTH)
        tl.store(out + 4 * capacity, seen, mask=inside)
        tl.store(out + 5 * capacity, d_seen, mask=inside)
        pair_energy, _ = repulsion(r, tl.load(screening + pair), tl.load(ranges + pair), tl.load(prefactors + pair))
        energy += tl.sum(tl.where(inside, pair_energy, 0.0), axis=0)
        found += tl.sum(inside.to(tl.int32), axis=0)
    tl.store(counts + atom, found)
    tl.store(closest + atom, nearest)
    tl.store(energies + atom, energy)


@triton.jit
def collect_forces(
    species, candidates, reverse, places, geometry, n_candidates, g_edges, screening, ranges, prefactors,
    forces, virials, capacity, N_SPECIES: tl.constexpr, N_BLOCKS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Sum the force on an atom over its edges, and its share of the virial."""
    atom = tl.program_id(0).to(tl.int64)
    n = tl.minimum(tl.load(n_candidates + atom), capacity)  # more have overflowed, which the caller sees
    row = atom * capacity
    own_species = tl.load(species + atom) * N_SPECIES
    dtype = geometry.dtype.element_ty
    force_x = tl.full([BLOCK], 0.0, dtype)
    force_y = tl.full([BLOCK], 0.0, dtype)
    force_z = tl.full([BLOCK], 0.0, dtype)
    xx = tl.full([BLOCK], 0.0, dtype)
    xy = tl.full([BLOCK], 0.0, dtype)
    xz = tl.full([BLOCK], 0.0, dtype)
    yx = tl.full([BLOCK], 0.0, dtype)
    yy = tl.full([BLOCK], 0.0, dtype)
    yz = tl.full([BLOCK], 0.0, dtype)
    zx = tl.full([BLOCK], 0.0, dtype)
    zy = tl.full([BLOCK], 0.0, dtype)
    zz = tl.full([BLOCK], 0.0, dtype)
    for start in range(0, n, BLOCK):
        slot = start + tl.arange(0, BLOCK)
        valid = slot < n
        place = tl.load(places + row + slot, mask=valid, other=-1)
        inside = place >= 0
        j = tl.load(candidates + row + slot, mask=inside, other=0).to(tl.int64)
        # A list that overflowed may lack one direction of a pair; its forces are not used.
        turned = tl.load(reverse + row + slot, mask=inside, other=-1)
        back = tl.load(places + j * capacity + turned, mask=turned >= 0, other=-1)
        returns = back >= 0
        edge = geometry + 6 * row + place
        x = tl.load(edge, mask=inside, other=0.0)
        y = tl.load(edge + capacity, mask=inside, other=0.0)
        z = tl.load(edge + 2 * capacity, mask=inside, other=0.0)
        r = tl.load(edge + 3 * capacity, mask=inside, other=1.0)
        in_x = tl.full([BLOCK], 0.0, dtype)
        in_y = tl.full([BLOCK], 0.0, dtype)
        in_z = tl.full([BLOCK], 0.0, dtype)
        for block in tl.static_range(N_BLOCKS):
            part = g_edges + 3 * capacity * (block * tl.num_programs(0).to(tl.int64))
            ending = part + 3 * row + place
            leaving = part + 3 * j * capacity + back
            in_x += tl.load(ending, mask=inside, other=0.0)
            in_y += tl.load(ending + capacity, mask=inside, other=0.0)
            in_z += tl.load(ending + 2 * capacity, mask=inside, other=0.0)
            force_x += tl.load(leaving, mask=returns, other=0.0)
            force_y += tl.load(leaving + capacity, mask=returns, other=0.0)
            force_z += tl.load(leaving + 2 * capacity, mask=returns, other=0.0)
        pair = own_species + tl.load(species + j, mask=inside, other=0)
        _, derivative = repulsion(r, tl.load(screening + pair), tl.load(ranges + pair), tl.load(prefactors + pair))
        derivative = tl.where(inside, derivative, 0.0)
        force_x += 2.0 * derivative * x - in_x
        force_y += 2.0 * derivative * y - in_y
        force_z += 2.0 * derivative * z - in_z
        in_x = r * (in_x - derivative * x)
        in_y = r * (in_y - derivative * y)
        in_z = r * (in_z - derivative * z)
        xx += x * in_x
        xy += x * in_y
        xz += x * in_z
        yx += y * in_x
        yy += y * in_y
        yz += y * in_z
        zx += z * in_x
        zy += z * in_y
        zz += z * in_z
    tl.store(forces + 3 * atom, tl.sum(force_x, axis=0))
    tl.store(forces + 3 * atom + 1, tl.sum(force_y, axis=0))
    tl.store(forces + 3 * atom + 2, tl.sum(force_z, axis=0))
    tl.store(virials + 9 * atom, tl.sum(xx, axis=0))
    tl.store(virials + 9 * atom + 1, tl.sum(xy, axis=0))
    tl.store(virials + 9 * atom + 2, tl.sum(xz, axis=0))
    tl.store(virials + 9 * atom + 3, tl.sum(yx, axis=0))
    tl.store(virials + 9 * atom + 4, tl.sum(yy, axis=0))
    tl.store(virials + 9 * atom + 5, tl.sum(yz, axis=0))
    tl.store(virials + 9 * atom + 6, tl.sum(zx, axis=0))
    tl.store(virials + 9 * atom + 7, tl.sum(zy, axis=0))
    tl.store(virials + 9 * atom + 8, tl.sum(zz, axis=0))
