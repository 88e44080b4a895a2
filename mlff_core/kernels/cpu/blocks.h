/* What happens at the atoms: the update blocks, the φ of the messages and the readout, forward and back, a tile at a time. */
#ifndef MLFF_BLOCKS_H
#define MLFF_BLOCKS_H

#include "job.h"

namespace MLFF_NAMESPACE {

/* Arrays that the way back reads: the job's for layers that others follow, the thread's own for the last. */
struct Kept {
    real *uw, *gates, *slope;
    real *norms, *v, *h; /* null unless this trains */
};

/* Eqs. 9 and 10: z.s (its first half) and z.v are changed in place. */
static void update(const Model &m, const Layer &layer, int atoms, Scratch &z, const Kept &kept) {
    const int C = m.C, Fp = m.Fp;
    real *hidden = kept.h ? kept.h : z.h;
    if (kept.v) memcpy(kept.v, z.v, sizeof(real) * size_t(atoms) * 3 * size_t(Fp));
    multiply(z.v, Fp, 3 * atoms, layer.mix.forward, [&](int row, int chunk, vec value) MLFF_LAMBDA_INLINE {
        store(kept.uw + (row * 2 * C + chunk) * W, value);
    });
    for (int row = 0; row < atoms; row++)
        for (int chunk = 0; chunk < C; chunk++) {
            const real *u = kept.uw + (row * 6 * C + chunk) * W, *w = u + Fp;
            vec dot = {}, square = splat(m.smoothing);
            for (int c = 0; c < 3; c++, u += 2 * Fp, w += 2 * Fp) {
                const vec wc = load(w);
                dot += load(u) * wc;
                square += wc * wc;
            }
            store(z.s + (row * 2 * C + C + chunk) * W, square_root(square));
            store(z.dot + (row * C + chunk) * W, dot);
        }
    if (kept.norms) memcpy(kept.norms, z.s, sizeof(real) * size_t(atoms) * 2 * size_t(Fp));
    multiply(z.s, 2 * Fp, atoms, layer.a1.forward, [&](int row, int chunk, vec value) MLFF_LAMBDA_INLINE {
        vec slope;
        const vec h = silu(value + load(layer.a1.bias + chunk * W), slope);
        store(hidden + (row * C + chunk) * W, h);
        store(kept.slope + (row * C + chunk) * W, slope);
    });
    multiply(hidden, Fp, atoms, layer.a2.forward, [&](int row, int chunk, vec value) MLFF_LAMBDA_INLINE {
        value += load(layer.a2.bias + chunk * W);
        if (chunk < C) {
            real *s = z.s + (row * 2 * C + chunk) * W;
            store(s, load(s) + value);
            return;
        }
        store(kept.gates + (row * 2 * C + chunk - C) * W, value);
    });
    for (int row = 0; row < atoms; row++)
        for (int chunk = 0; chunk < C; chunk++) {
            const real *gates = kept.gates + (row * 2 * C + chunk) * W;
            real *s = z.s + (row * 2 * C + chunk) * W;
            store(s, load(s) + load(gates) * load(z.dot + (row * C + chunk) * W));
            if (!layer.writes_vectors) continue;
            const vec a_vv = load(gates + Fp);
            for (int c = 0; c < 3; c++) {
                real *v = z.v + ((row * 3 + c) * C + chunk) * W;
                store(v, load(v) + a_vv * load(kept.uw + ((row * 3 + c) * 2 * C + chunk) * W));
            }
        }
}

/* From z.gs and z.gv after the block to those before it, in place; adds to `learned` over the atoms, if it is there. */
static void update_back(const Model &m, const Layer &layer, int atoms, Scratch &z, const Kept &kept,
                        const LayerGradient *learned) {
    const int C = m.C, Fp = m.Fp, parts = layer.writes_vectors ? 3 : 2;
    for (int row = 0; row < atoms; row++)
        for (int chunk = 0; chunk < C; chunk++) {
            vec dot = {}, g_vv = {};
            for (int c = 0; c < 3; c++) {
                const real *u = kept.uw + ((row * 3 + c) * 2 * C + chunk) * W;
                dot += load(u) * load(u + Fp);
                if (layer.writes_vectors) g_vv += load(z.gv + ((row * 3 + c) * C + chunk) * W) * load(u);
            }
            const vec gs = load(z.gs + (row * C + chunk) * W);
            real *a = z.a + (row * parts * C + chunk) * W;
            store(a, gs);
            store(a + Fp, gs * dot);
            if (layer.writes_vectors) store(a + 2 * Fp, g_vv);
        }
    if (learned) learned->a2.add(z.a, kept.h, Fp, atoms);
    multiply(z.a, parts * Fp, atoms, layer.a2.backward, [&](int row, int chunk, vec value) MLFF_LAMBDA_INLINE {
        const int64_t at = (row * C + chunk) * W;
        store(z.h + at, value * load(kept.slope + at));
    });
    if (learned) learned->a1.add(z.h, kept.norms, 2 * Fp, atoms);
    multiply(z.h, Fp, atoms, layer.a1.backward, [&](int row, int chunk, vec value) MLFF_LAMBDA_INLINE {
        store(z.s + (row * 2 * C + chunk) * W, value);
    });
    for (int row = 0; row < atoms; row++)
        for (int chunk = 0; chunk < C; chunk++) {
            const real *gates = kept.gates + (row * 2 * C + chunk) * W;
            const vec gs = load(z.gs + (row * C + chunk) * W), g_dot = gs * load(gates);
            const vec a_vv = layer.writes_vectors ? load(gates + Fp) : vec{};
            const real *before = z.s + (row * 2 * C + chunk) * W;
            vec square = splat(m.smoothing);
            for (int c = 0; c < 3; c++) {
                const vec w = load(kept.uw + ((row * 3 + c) * 2 * C + C + chunk) * W);
                square += w * w;
            }
            const vec g_norm = load(before + Fp) / square_root(square);
            for (int c = 0; c < 3; c++) {
                const real *u = kept.uw + ((row * 3 + c) * 2 * C + chunk) * W;
                real *to = z.guw + ((row * 3 + c) * 2 * C + chunk) * W;
                const vec uc = load(u), wc = load(u + Fp);
                vec gu = g_dot * wc;
                if (layer.writes_vectors) gu += a_vv * load(z.gv + ((row * 3 + c) * C + chunk) * W);
                store(to, gu);
                store(to + Fp, g_dot * uc + g_norm * wc);
            }
            store(z.gs + (row * C + chunk) * W, gs + load(before));
        }
    if (learned) learned->mix.add(z.guw, kept.v, Fp, 3 * atoms);
    const bool adds = layer.writes_vectors;
    multiply(z.guw, 2 * Fp, 3 * atoms, layer.mix.backward, [&](int row, int chunk, vec value) MLFF_LAMBDA_INLINE {
        real *gv = z.gv + (row * C + chunk) * W;
        store(gv, adds ? value + load(gv) : value);
    });
}

/* φ(s) for the next layer's messages, with v beside it, as neighbours read them: xv (rows, C, 6, W). */
static void publish(const Model &m, const Layer &layer, int atoms, Scratch &z, real *xv, real *slope_p, real *hidden) {
    const int C = m.C, Fp = m.Fp;
    multiply(z.s, 2 * Fp, atoms, layer.phi1.forward, [&](int row, int chunk, vec value) MLFF_LAMBDA_INLINE {
        vec slope;
        const vec h = silu(value + load(layer.phi1.bias + chunk * W), slope);
        store(hidden + (row * C + chunk) * W, h);
        store(slope_p + (row * C + chunk) * W, slope);
    });
    multiply(hidden, Fp, atoms, layer.phi2.forward, [&](int row, int chunk, vec value) MLFF_LAMBDA_INLINE {
        const int part = chunk >= 2 * C ? 2 : chunk >= C, at = chunk - part * C;
        store(xv + ((row * C + at) * 6 + part) * W, value + load(layer.phi2.bias + chunk * W));
    });
    for (int row = 0; row < atoms; row++)
        for (int c = 0; c < 3; c++)
            for (int chunk = 0; chunk < C; chunk++)
                store(xv + ((row * C + chunk) * 6 + 3 + c) * W, load(z.v + ((row * 3 + c) * C + chunk) * W));
}

/* A number beyond an edge of its range, bounded, and the derivative of the bounded one in it; see model/saturation.py
 * for energies and model/charges.py for charges. */
static real saturated(real number, real edge, real width, real &slope) {
    const real x = (number - edge) / width;
    const real y = is_double ? real(__builtin_tanh(double(x))) : real(__builtin_tanhf(float(x)));
    slope = 1 - y * y;
    return edge + width * y;
}

/* The numbers that a readout gives the owned atoms, from z.s. `take(row, number)` is given each and returns a factor on its
 * derivative. For the way back, factor[row] times the derivative of the number goes into z.gs, or is added to it. */
template <class Take>
static void read_out(const Model &m, const Readout &from, int owned, int atoms, bool backward, bool adds, Scratch &z,
                     real *factor, const ReadoutGradient *learned, Take take) {
    const int C = m.C, Cr = from.chunks;
    multiply(z.s, 2 * m.Fp, atoms, from.hidden.forward, [&](int row, int chunk, vec value) MLFF_LAMBDA_INLINE {
        vec slope;
        const vec h = silu(value + load(from.hidden.bias + chunk * W), slope), weight = load(from.weight + chunk * W);
        store(z.h + (row * Cr + chunk) * W, h);
        store(z.a + (row * Cr + chunk) * W, slope * weight * factor[row]);
    });
    for (int row = 0; row < owned; row++) {
        vec total = {};
        for (int chunk = 0; chunk < Cr; chunk++) total += load(z.h + (row * Cr + chunk) * W) * load(from.weight + chunk * W);
        const real slope = take(row, sum(total) + from.bias);
        if (slope == 1) continue;
        factor[row] *= slope;
        for (int k = row * Cr * W; k < (row + 1) * Cr * W; k += W) store(z.a + k, load(z.a + k) * slope);
    }
    if (!backward) return;
    if (learned) {
        learned->hidden.add(z.a, z.s, 2 * m.Fp, owned);
        for (int row = 0; row < owned; row++) {
            *learned->bias += factor[row];
            for (int k = 0; k < Cr * W; k += W)
                store(learned->weight + k, load(learned->weight + k) + factor[row] * load(z.h + row * Cr * W + k));
        }
    }
    multiply(z.a, Cr * W, atoms, from.hidden.backward, [&](int row, int chunk, vec value) MLFF_LAMBDA_INLINE {
        real *gs = z.gs + (row * C + chunk) * W;
        store(gs, adds ? value + load(gs) : value);
    });
}

/* Energies of the owned atoms from z.s, added to `energies`; and, for the way back, dE/ds into z.gs, E being the sum of
 * the energies or, where `factors` are given, of their products with these. */
static void read_energies(const Model &m, int owned, int atoms, bool backward, Scratch &z, const int *species, double *energies,
                          const double *factors, const Gradient *learned) {
    real factor[TILE];
    for (int row = 0; row < atoms; row++) factor[row] = row >= owned ? real(0) : m.scale * (factors ? real(factors[row]) : real(1));
    read_out(m, m.energy, owned, atoms, backward, false, z, factor, learned ? &learned->energy : nullptr,
             [&](int row, real number) MLFF_LAMBDA_INLINE {
                 real energy = number * m.scale, slope = 1;
                 const int s = species[row];
                 if (!(energy >= m.floor[s] && energy <= m.ceiling[s])) energy = saturated(energy, energy < m.floor[s] ? m.floor[s] : m.ceiling[s], m.saturation_width, slope);
                 energies[row] += double(energy);
                 return slope;
             });
}

/* Charges of the owned atoms from z.s, into `charges` where that is given; for the way back, where `factors` are given,
 * the derivative of the sum of factors times charges is added to z.gs. */
static void read_charges(const Model &m, int owned, int atoms, bool backward, Scratch &z, double *charges, const double *factors,
                         const Gradient *learned) {
    real factor[TILE];
    for (int row = 0; row < atoms; row++) factor[row] = row < owned && factors ? real(factors[row]) : real(0);
    read_out(m, m.charge, owned, atoms, backward && factors, true, z, factor, learned ? &learned->charge : nullptr,
             [&](int row, real number) MLFF_LAMBDA_INLINE {
                 real charge = number, slope = 1;
                 if (!(charge >= -2 && charge <= 2)) charge = saturated(charge, charge < 0 ? real(-2) : real(2), real(1), slope);
                 if (charges) charges[row] = double(charge);
                 return slope;
             });
}

}  // namespace MLFF_NAMESPACE
#endif
