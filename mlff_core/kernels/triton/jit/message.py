"""Messages between neighbours, forward and backward. One program computes some atoms and one block of channels.

The backward pass needs no scatter: each pair is an edge in both directions with one filter, so the gradient at an atom
is a sum over its own neighbours. The gradient of edge (j → i) is computed at atom i from the gradients gathered at j
and stored in the slot of (i → j); the kernel that collects forces reads both.
"""

import triton
import triton.language as tl

from mlff_core.kernels.triton.jit.radial import enveloped_basis


@triton.jit
def filter_weights(
    weights, channel, is_channel,
    HIDDEN: tl.constexpr, N_FILTERS: tl.constexpr, READS_VECTORS: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Return the weights of the two or three filters of a block of channels; without vectors the third is unused."""
    k = tl.arange(0, BLOCK_K)
    weight = weights + k[:, None] * N_FILTERS + channel[None, :]
    w0 = tl.load(weight, mask=is_channel[None, :], other=0.0)
    w1 = tl.load(weight + HIDDEN, mask=is_channel[None, :], other=0.0)
    w2 = w1
    if READS_VECTORS:
        w2 = tl.load(weight + 2 * HIDDEN, mask=is_channel[None, :], other=0.0)
    return w0, w1, w2


@triton.jit
def edges_of(atom, counts, n_atoms, capacity):
    """Return whether an atom exists, its number of edges, and the offset of its row of slots."""
    exists = atom < n_atoms
    count = tl.load(counts + atom, mask=exists, other=0)
    return exists, count, atom.to(tl.int64) * capacity


@triton.jit
def message_forward(
    neighbors, geometry, counts, phi, v, s_in, v_in, s_out, v_out, weights, n_atoms, capacity,
    HIDDEN: tl.constexpr, N_PHI: tl.constexpr, N_FILTERS: tl.constexpr, READS_VECTORS: tl.constexpr,
    CUTOFF: tl.constexpr, N_RADIAL: tl.constexpr, GAUSSIAN: tl.constexpr, DOUBLE: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_F: tl.constexpr, BLOCK_K: tl.constexpr, ATOMS: tl.constexpr,
):  # fmt: skip
    """Add the messages of an atom's neighbours to its scalars and vectors."""
    channel = tl.program_id(1) * BLOCK_F + tl.arange(0, BLOCK_F)
    is_channel = channel < HIDDEN
    w0, w1, w2 = filter_weights(weights, channel, is_channel, HIDDEN, N_FILTERS, READS_VECTORS, BLOCK_K)
    dtype = w0.dtype
    for a in range(ATOMS):
        atom = tl.program_id(0) * ATOMS + a
        exists, count, row = edges_of(atom, counts, n_atoms, capacity)
        sum_s = tl.full([BLOCK_M, BLOCK_F], 0.0, dtype)
        sum_x = tl.full([BLOCK_M, BLOCK_F], 0.0, dtype)
        sum_y = tl.full([BLOCK_M, BLOCK_F], 0.0, dtype)
        sum_z = tl.full([BLOCK_M, BLOCK_F], 0.0, dtype)
        for start in range(0, count, BLOCK_M):
            slot = start + tl.arange(0, BLOCK_M)
            is_edge = slot < count
            j = tl.load(neighbors + row + slot, mask=is_edge, other=0)
            edge = geometry + 6 * row + slot
            x = tl.load(edge, mask=is_edge, other=0.0)[:, None]
            y = tl.load(edge + capacity, mask=is_edge, other=0.0)[:, None]
            z = tl.load(edge + 2 * capacity, mask=is_edge, other=0.0)[:, None]
            # At the cutoff the envelope, and with it every filter, is zero.
            seen = tl.load(edge + 4 * capacity, mask=is_edge, other=CUTOFF)
            basis, _ = enveloped_basis(seen, CUTOFF, N_RADIAL, GAUSSIAN, BLOCK_K, DOUBLE)
            wanted = is_edge[:, None] & is_channel[None, :]
            there = phi + j[:, None] * N_PHI + channel[None, :]
            message = tl.load(there, mask=wanted, other=0.0).to(dtype)
            sum_s += message * tl.dot(basis, w0, input_precision=PRECISION, out_dtype=dtype)
            message = tl.load(there + HIDDEN, mask=wanted, other=0.0).to(dtype)
            message *= tl.dot(basis, w1, input_precision=PRECISION, out_dtype=dtype)
            sum_x += x * message
            sum_y += y * message
            sum_z += z * message
            if READS_VECTORS:
                message = tl.load(there + 2 * HIDDEN, mask=wanted, other=0.0).to(dtype)
                message *= tl.dot(basis, w2, input_precision=PRECISION, out_dtype=dtype)
                vector = v + j[:, None] * (3 * HIDDEN) + channel[None, :]
                sum_x += message * tl.load(vector, mask=wanted, other=0.0).to(dtype)
                sum_y += message * tl.load(vector + HIDDEN, mask=wanted, other=0.0).to(dtype)
                sum_z += message * tl.load(vector + 2 * HIDDEN, mask=wanted, other=0.0).to(dtype)
        own = is_channel & exists
        here = atom.to(tl.int64) * HIDDEN + channel
        tl.store(s_out + here, tl.load(s_in + here, mask=own, other=0.0) + tl.sum(sum_s, axis=0), mask=own)
        here = atom.to(tl.int64) * (3 * HIDDEN) + channel
        out_x = tl.sum(sum_x, axis=0)
        out_y = tl.sum(sum_y, axis=0)
        out_z = tl.sum(sum_z, axis=0)
        if READS_VECTORS:
            out_x += tl.load(v_in + here, mask=own, other=0.0)
            out_y += tl.load(v_in + here + HIDDEN, mask=own, other=0.0)
            out_z += tl.load(v_in + here + 2 * HIDDEN, mask=own, other=0.0)
        tl.store(v_out + here, out_x, mask=own)
        tl.store(v_out + here + HIDDEN, out_y, mask=own)
        tl.store(v_out + here + 2 * HIDDEN, out_z, mask=own)


@triton.jit
def message_backward(
    neighbors, geometry, counts, phi, v, gathered_s, gathered_v, own_v, g_phi, g_v, g_edges, weights, n_atoms, capacity,
    HIDDEN: tl.constexpr, N_PHI: tl.constexpr, N_FILTERS: tl.constexpr, READS_VECTORS: tl.constexpr,
    ACCUMULATE: tl.constexpr,
    CUTOFF: tl.constexpr, N_RADIAL: tl.constexpr, GAUSSIAN: tl.constexpr, DOUBLE: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_F: tl.constexpr, BLOCK_K: tl.constexpr, ATOMS: tl.constexpr,
):  # fmt: skip
    """Compute the gradients of an atom's φ and vectors, and the gradients of the edges that end at it."""
    channel = tl.program_id(1) * BLOCK_F + tl.arange(0, BLOCK_F)
    is_channel = channel < HIDDEN
    w0, w1, w2 = filter_weights(weights, channel, is_channel, HIDDEN, N_FILTERS, READS_VECTORS, BLOCK_K)
    dtype = w0.dtype
    for a in range(ATOMS):
        atom = tl.program_id(0) * ATOMS + a
        exists, count, row = edges_of(atom, counts, n_atoms, capacity)
        own = is_channel & exists
        here = phi + atom.to(tl.int64) * N_PHI + channel
        phi0 = tl.load(here, mask=own, other=0.0).to(dtype)[None, :]
        phi1 = tl.load(here + HIDDEN, mask=own, other=0.0).to(dtype)[None, :]
        if READS_VECTORS:
            phi2 = tl.load(here + 2 * HIDDEN, mask=own, other=0.0).to(dtype)[None, :]
            here = v + atom.to(tl.int64) * (3 * HIDDEN) + channel
            v_x = tl.load(here, mask=own, other=0.0).to(dtype)[None, :]
            v_y = tl.load(here + HIDDEN, mask=own, other=0.0).to(dtype)[None, :]
            v_z = tl.load(here + 2 * HIDDEN, mask=own, other=0.0).to(dtype)[None, :]
            sum_0 = tl.full([BLOCK_M, BLOCK_F], 0.0, dtype)
            sum_1 = tl.full([BLOCK_M, BLOCK_F], 0.0, dtype)
            sum_2 = tl.full([BLOCK_M, BLOCK_F], 0.0, dtype)
            sum_x = tl.full([BLOCK_M, BLOCK_F], 0.0, dtype)
            sum_y = tl.full([BLOCK_M, BLOCK_F], 0.0, dtype)
            sum_z = tl.full([BLOCK_M, BLOCK_F], 0.0, dtype)
        for start in range(0, count, BLOCK_M):
            slot = start + tl.arange(0, BLOCK_M)
            is_edge = slot < count
            j = tl.load(neighbors + row + slot, mask=is_edge, other=0)
            edge = geometry + 6 * row + slot
            # From the neighbour to this atom: the negative of what is stored.
            x = -tl.load(edge, mask=is_edge, other=0.0)
            y = -tl.load(edge + capacity, mask=is_edge, other=0.0)
            z = -tl.load(edge + 2 * capacity, mask=is_edge, other=0.0)
            r = tl.load(edge + 3 * capacity, mask=is_edge, other=CUTOFF)
            seen = tl.load(edge + 4 * capacity, mask=is_edge, other=CUTOFF)
            basis, d_basis = enveloped_basis(seen, CUTOFF, N_RADIAL, GAUSSIAN, BLOCK_K, DOUBLE)
            d_basis *= tl.load(edge + 5 * capacity, mask=is_edge, other=0.0)[:, None]
            wanted = is_edge[:, None] & is_channel[None, :]
            g_s = tl.load(gathered_s + j[:, None] * HIDDEN + channel[None, :], mask=wanted, other=0.0).to(dtype)
            there = gathered_v + j[:, None] * (3 * HIDDEN) + channel[None, :]
            g_x = tl.load(there, mask=wanted, other=0.0).to(dtype)
            g_y = tl.load(there + HIDDEN, mask=wanted, other=0.0).to(dtype)
            g_z = tl.load(there + 2 * HIDDEN, mask=wanted, other=0.0).to(dtype)
            radial = phi0 * g_s * tl.dot(d_basis, w0, input_precision=PRECISION, out_dtype=dtype)
            filter1 = tl.dot(basis, w1, input_precision=PRECISION, out_dtype=dtype)
            along = x[:, None] * g_x + y[:, None] * g_y + z[:, None] * g_z
            radial += phi1 * along * tl.dot(d_basis, w1, input_precision=PRECISION, out_dtype=dtype)
            if READS_VECTORS:
                sum_0 += g_s * tl.dot(basis, w0, input_precision=PRECISION, out_dtype=dtype)
                sum_1 += along * filter1
                filter2 = tl.dot(basis, w2, input_precision=PRECISION, out_dtype=dtype)
                product = v_x * g_x + v_y * g_y + v_z * g_z
                sum_2 += product * filter2
                radial += phi2 * product * tl.dot(d_basis, w2, input_precision=PRECISION, out_dtype=dtype)
                sum_x += g_x * filter2
                sum_y += g_y * filter2
                sum_z += g_z * filter2
            pulled = phi1 * filter1
            t_x = tl.sum(pulled * g_x, axis=1)
            t_y = tl.sum(pulled * g_y, axis=1)
            t_z = tl.sum(pulled * g_z, axis=1)
            outward = tl.sum(radial, axis=1) - (t_x * x + t_y * y + t_z * z) / r
            t_x = outward * x + t_x / r
            t_y = outward * y + t_y / r
            t_z = outward * z + t_z / r
            g_edge = g_edges + 3 * capacity * (tl.program_id(1).to(tl.int64) * n_atoms + atom) + slot
            if ACCUMULATE:
                t_x += tl.load(g_edge, mask=is_edge, other=0.0)
                t_y += tl.load(g_edge + capacity, mask=is_edge, other=0.0)
                t_z += tl.load(g_edge + 2 * capacity, mask=is_edge, other=0.0)
            tl.store(g_edge, t_x, mask=is_edge)
            tl.store(g_edge + capacity, t_y, mask=is_edge)
            tl.store(g_edge + 2 * capacity, t_z, mask=is_edge)
        if READS_VECTORS:
            here = atom.to(tl.int64) * (3 * HIDDEN) + channel
            tl.store(g_phi + here, tl.sum(sum_0, axis=0), mask=own)
            tl.store(g_phi + here + HIDDEN, tl.sum(sum_1, axis=0), mask=own)
            tl.store(g_phi + here + 2 * HIDDEN, tl.sum(sum_2, axis=0), mask=own)
            gate = tl.load(phi + here + 2 * HIDDEN, mask=own, other=0.0).to(dtype)
            g = gate * tl.sum(sum_x, axis=0)
            tl.store(g_v + here, tl.load(own_v + here, mask=own, other=0.0) + g, mask=own)
            g = gate * tl.sum(sum_y, axis=0)
            tl.store(g_v + here + HIDDEN, tl.load(own_v + here + HIDDEN, mask=own, other=0.0) + g, mask=own)
            g = gate * tl.sum(sum_z, axis=0)
            tl.store(g_v + here + 2 * HIDDEN, tl.load(own_v + here + 2 * HIDDEN, mask=own, other=0.0) + g, mask=own)
