"""Operations on each atom's features between two matrix products. A program computes a few atoms and all channels."""

import triton
import triton.language as tl


@triton.jit
def update_enter(
    mixed, s, joined, n_atoms, HIDDEN: tl.constexpr, BLOCK_F: tl.constexpr, ROWS: tl.constexpr, SMOOTHING: tl.constexpr
):
    """Write [s, √(|w|² + smoothing)], the input of the update block's gates."""
    atom = (tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS))[:, None]
    channel = tl.arange(0, BLOCK_F)[None, :]
    own = (channel < HIDDEN) & (atom < n_atoms)
    w = mixed + atom * (6 * HIDDEN) + HIDDEN + channel
    x = tl.load(w, mask=own, other=0.0)
    y = tl.load(w + 2 * HIDDEN, mask=own, other=0.0)
    z = tl.load(w + 4 * HIDDEN, mask=own, other=0.0)
    out = joined + atom * (2 * HIDDEN) + channel
    tl.store(out, tl.load(s + atom * HIDDEN + channel, mask=own, other=0.0), mask=own)
    tl.store(out + HIDDEN, tl.sqrt(x * x + y * y + z * z + SMOOTHING), mask=own)


@triton.jit
def mixed_vectors(mixed, atom, channel, own, HIDDEN: tl.constexpr):
    """Return the components of u, one half of the mixed vectors, and their product u · w with the other half."""
    u = mixed + atom * (6 * HIDDEN) + channel
    u_x = tl.load(u, mask=own, other=0.0)
    u_y = tl.load(u + 2 * HIDDEN, mask=own, other=0.0)
    u_z = tl.load(u + 4 * HIDDEN, mask=own, other=0.0)
    product = u_x * tl.load(u + HIDDEN, mask=own, other=0.0)
    product += u_y * tl.load(u + 3 * HIDDEN, mask=own, other=0.0)
    product += u_z * tl.load(u + 5 * HIDDEN, mask=own, other=0.0)
    return u_x, u_y, u_z, product


@triton.jit
def update_leave(
    mixed, s, v, gates, s_out, v_out, v_stored, n_atoms,
    HIDDEN: tl.constexpr, BLOCK_F: tl.constexpr, ROWS: tl.constexpr, WRITES_VECTORS: tl.constexpr, STORES: tl.constexpr,
):  # fmt: skip
    """Add the gated changes to scalars and vectors; ``v_stored`` receives the vectors in the storage precision."""
    atom = (tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS))[:, None]
    channel = tl.arange(0, BLOCK_F)[None, :]
    own = (channel < HIDDEN) & (atom < n_atoms)
    u_x, u_y, u_z, product = mixed_vectors(mixed, atom, channel, own, HIDDEN)
    n_gates: tl.constexpr = (3 if WRITES_VECTORS else 2) * HIDDEN
    gate = gates + atom * n_gates + channel
    here = atom * HIDDEN + channel
    new_s = tl.load(s + here, mask=own, other=0.0) + tl.load(gate, mask=own, other=0.0)
    tl.store(s_out + here, new_s + tl.load(gate + HIDDEN, mask=own, other=0.0) * product, mask=own)
    if WRITES_VECTORS:
        a = tl.load(gate + 2 * HIDDEN, mask=own, other=0.0)
        here = atom * (3 * HIDDEN) + channel
        new_x = tl.load(v + here, mask=own, other=0.0) + a * u_x
        new_y = tl.load(v + here + HIDDEN, mask=own, other=0.0) + a * u_y
        new_z = tl.load(v + here + 2 * HIDDEN, mask=own, other=0.0) + a * u_z
        tl.store(v_out + here, new_x, mask=own)
        tl.store(v_out + here + HIDDEN, new_y, mask=own)
        tl.store(v_out + here + 2 * HIDDEN, new_z, mask=own)
        if STORES:
            tl.store(v_stored + here, new_x.to(v_stored.dtype.element_ty), mask=own)
            tl.store(v_stored + here + HIDDEN, new_y.to(v_stored.dtype.element_ty), mask=own)
            tl.store(v_stored + here + 2 * HIDDEN, new_z.to(v_stored.dtype.element_ty), mask=own)


@triton.jit
def gates_backward(
    mixed,
    g_s,
    g_v,
    g_gates,
    n_atoms,
    HIDDEN: tl.constexpr,
    BLOCK_F: tl.constexpr,
    ROWS: tl.constexpr,
    WRITES_VECTORS: tl.constexpr,
):
    """Write the gradient of the update block's gates."""
    atom = (tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS))[:, None]
    channel = tl.arange(0, BLOCK_F)[None, :]
    own = (channel < HIDDEN) & (atom < n_atoms)
    u_x, u_y, u_z, product = mixed_vectors(mixed, atom, channel, own, HIDDEN)
    n_gates: tl.constexpr = (3 if WRITES_VECTORS else 2) * HIDDEN
    out = g_gates + atom * n_gates + channel
    g = tl.load(g_s + atom * HIDDEN + channel, mask=own, other=0.0)
    tl.store(out, g, mask=own)
    tl.store(out + HIDDEN, g * product, mask=own)
    if WRITES_VECTORS:
        there = g_v + atom * (3 * HIDDEN) + channel
        total = tl.load(there, mask=own, other=0.0) * u_x
        total += tl.load(there + HIDDEN, mask=own, other=0.0) * u_y
        total += tl.load(there + 2 * HIDDEN, mask=own, other=0.0) * u_z
        tl.store(out + 2 * HIDDEN, total, mask=own)


@triton.jit
def mixed_backward(
    mixed, joined, gates, g_joined, g_s, g_v, g_s_out, g_s_stored, g_mixed, n_atoms,
    HIDDEN: tl.constexpr, BLOCK_F: tl.constexpr, ROWS: tl.constexpr, WRITES_VECTORS: tl.constexpr, STORES: tl.constexpr,
):  # fmt: skip
    """Write the gradients of the scalars and the mixed vectors that entered an update block."""
    atom = (tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS))[:, None]
    channel = tl.arange(0, BLOCK_F)[None, :]
    own = (channel < HIDDEN) & (atom < n_atoms)
    n_gates: tl.constexpr = (3 if WRITES_VECTORS else 2) * HIDDEN
    gate = gates + atom * n_gates + channel
    here = atom * HIDDEN + channel
    g = tl.load(g_s + here, mask=own, other=0.0)
    back = g_joined + atom * (2 * HIDDEN) + channel
    total = g + tl.load(back, mask=own, other=0.0)
    tl.store(g_s_out + here, total, mask=own)
    if STORES:
        tl.store(g_s_stored + here, total.to(g_s_stored.dtype.element_ty), mask=own)
    norm = tl.load(joined + atom * (2 * HIDDEN) + HIDDEN + channel, mask=own, other=1.0)
    g_norm = tl.load(back + HIDDEN, mask=own, other=0.0) / norm
    g_product = g * tl.load(gate + HIDDEN, mask=own, other=0.0)
    for axis in tl.static_range(3):
        at = atom * (6 * HIDDEN) + 2 * axis * HIDDEN + channel
        u = tl.load(mixed + at, mask=own, other=0.0)
        w = tl.load(mixed + at + HIDDEN, mask=own, other=0.0)
        g_u = g_product * w
        if WRITES_VECTORS:
            a = tl.load(gate + 2 * HIDDEN, mask=own, other=0.0)
            g_u += a * tl.load(g_v + atom * (3 * HIDDEN) + axis * HIDDEN + channel, mask=own, other=0.0)
        tl.store(g_mixed + at, g_u, mask=own)
        tl.store(g_mixed + at + HIDDEN, g_product * u + g_norm * w, mask=own)


@triton.jit
def read_out(
    hidden,
    weight,
    bias,
    scale,
    species,
    lowest,
    highest,
    saturation_width,
    energies,
    g_hidden,
    n_atoms,
    WIDTH: tl.constexpr,
    BLOCK_W: tl.constexpr,
    ROWS: tl.constexpr,
    SATURATES: tl.constexpr,
):
    """Write the network's energy of an atom and its gradient with respect to the readout's hidden layer."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    atom = row[:, None]
    column = tl.arange(0, BLOCK_W)[None, :]
    own = (column < WIDTH) & (atom < n_atoms)
    h = tl.load(hidden + atom * WIDTH + column, mask=own, other=0.0)
    w = tl.load(weight + column, mask=column < WIDTH, other=0.0)
    factor = tl.load(scale)
    gate = 1.0 / (1.0 + tl.exp(-h))
    energy = (tl.sum(h * gate * w, axis=1) + tl.load(bias)) * factor
    slope = factor * w * gate * (1.0 + h * (1.0 - gate))
    if SATURATES:
        of = tl.load(species + row, mask=row < n_atoms, other=0)
        width = tl.load(saturation_width)
        inside = tl.minimum(tl.maximum(energy, tl.load(lowest + of)), tl.load(highest + of))
        x = (energy - inside) / width
        # tanh(x) by an exponential that cannot overflow.
        small = tl.exp(-2.0 * tl.abs(x))
        y = tl.where(x < 0.0, -1.0, 1.0) * (1.0 - small) / (1.0 + small)
        energy = tl.where(x == 0.0, energy, inside + width * y)
        slope = slope * tl.where(x == 0.0, 1.0, 1.0 - y * y)[:, None]
    tl.store(energies + row, energy, mask=row < n_atoms)
    tl.store(g_hidden + atom * WIDTH + column, slope, mask=own)


@triton.jit
def sum_systems(values, starts, sums, n_columns, CHUNK: tl.constexpr):
    """Write the sum of one chunk of one system's rows for one column, in an order that never changes."""
    system = tl.program_id(0)
    part = tl.program_id(1)
    column = tl.program_id(2)
    first = tl.load(starts + system) + part * CHUNK
    last = tl.load(starts + system + 1)
    row = first + tl.arange(0, CHUNK)
    given = tl.load(values + row * n_columns + column, mask=row < last, other=0.0)
    out = (system.to(tl.int64) * tl.num_programs(1) + part) * n_columns + column
    tl.store(sums + out, tl.sum(given.to(tl.float64), axis=0))
