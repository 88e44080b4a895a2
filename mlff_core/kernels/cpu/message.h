/* Message blocks: filter, gather, product and sum over neighbours in one loop, forward and back.
 *
 * An edge belongs to its centre i and looks at its neighbour j. Since every pair occurs in both directions with one r,
 * what flows back from the centres that look at atom i is found at the edges of i itself: both ways are gathers. */
#ifndef MLFF_MESSAGE_H
#define MLFF_MESSAGE_H

#include "job.h"

namespace MLFF_NAMESPACE {

/* Δs and Δv of the atoms of a group: sums (GROUP, C, 4, W). In the first layer (FILTERS = 2) φ(s) depends on the species alone, and there are
 * no vectors yet. The sums go through the first-level cache with every edge: going over the edges once for each block of
 * channels instead, with the sums in registers, reads every neighbour in pieces and is slower. */
template <int FILTERS>
static MLFF_INLINE void gather(const Job &j, const Layer &layer, const real *xv, const Job::Group &group, real *sums) {
    const Model &m = *j.m;
    const Table &table = m.tables[layer.table];
    const int C = m.C, per_table = table.filters * W, per_atom = (FILTERS == 2 ? 2 : 6) * W;
    const int64_t stride = int64_t(C) * per_table;
    const Edge *edge = group.edges, *end = edge + *group.count;
    memset(sums, 0, sizeof(real) * size_t(GROUP) * C * 4 * W);
    for (; edge < end; edge++) {
        const real *t = table.data + edge->row * stride;
        const int64_t at = FILTERS == 2 ? j.species[edge->neighbor] : int64_t(edge->neighbor);
        const real *x = xv + at * (int64_t(C) * per_atom);
        real *to = sums + edge->center * (int64_t(C) * 4 * W);
        const vec u[3] = {splat(edge->u[0]), splat(edge->u[1]), splat(edge->u[2])};
        const vec b[4] = {splat(edge->b[0]), splat(edge->b[1]), splat(edge->b[2]), splat(edge->b[3])};
        for (int chunk = 0; chunk < C; chunk++, t += per_table, x += per_atom, to += 4 * W) {
            vec w[FILTERS];
#pragma GCC unroll 3
            for (int f = 0; f < FILTERS; f++)
                w[f] = (b[0] * load(t + f * W) + b[1] * load(t + stride + f * W)) +
                       (b[2] * load(t + 2 * stride + f * W) + b[3] * load(t + 3 * stride + f * W));
            store(to, load(to) + w[0] * load(x));
            const vec along = w[1] * load(x + W);
            if constexpr (FILTERS == 3) {
                const vec through = w[2] * load(x + 2 * W);
#pragma GCC unroll 3
                for (int c = 0; c < 3; c++)
                    store(to + (1 + c) * W, load(to + (1 + c) * W) + (u[c] * along + through * load(x + (3 + c) * W)));
            } else {
#pragma GCC unroll 3
                for (int c = 0; c < 3; c++) store(to + (1 + c) * W, load(to + (1 + c) * W) + u[c] * along);
            }
        }
    }
}

/* What flows back to the atoms of a group from the centres that look at them, whose gradients are in g: sums (GROUP, C, 5,
 * W) of W₀ gs, W₁ (u·gv) and W₂ gv; and the gradients of these edges, added to their slopes. The first layer, whose φ(s)
 * and v depend on no position, needs the latter only.
 *
 * With a `learned` sum it is the gradient of the table's coefficients that is added to instead of the slopes, and in the
 * first layer that of φ(s), which depends on the species alone. */
template <int FILTERS, bool TRAINS>
static MLFF_INLINE void gather_back(Job &j, const Layer &layer, const real *xv, const real *g, const Job::Group &group, real *sums,
                                    const Gradient *learned) {
    const Model &m = *j.m;
    const Table &table = m.tables[layer.table];
    const int C = m.C, per_table = table.filters * W, per_atom = (FILTERS == 2 ? 2 : 6) * W;
    const int64_t stride = int64_t(C) * per_table;
    const Edge *edge = group.edges, *end = edge + *group.count;
    EdgeGradient *slope = group.slopes;
    if (FILTERS == 3) memset(sums, 0, sizeof(real) * size_t(GROUP) * C * 5 * W);
    for (; edge < end; edge++, slope++) {
        const real *t = table.data + edge->row * stride;
        real *learns = TRAINS ? learned->tables[layer.table] + edge->row * stride : nullptr;
        const real *from = g + edge->neighbor * (int64_t(C) * 4 * W);
        const int64_t i = group.start + int64_t(edge->center);
        const real *x = xv + (FILTERS == 2 ? int64_t(j.species[i]) : i) * (int64_t(C) * per_atom);
        real *to = sums + edge->center * (int64_t(C) * 5 * W);
        if (TRAINS && FILTERS == 2) to = learned->first_phi + j.species[i] * (int64_t(C) * 2 * W);
        /* The direction of the edge that looks at i. */
        const vec u[3] = {splat(-edge->u[0]), splat(-edge->u[1]), splat(-edge->u[2])};
        const vec b[4] = {splat(edge->b[0]), splat(edge->b[1]), splat(edge->b[2]), splat(edge->b[3])};
        vec q[4] = {}, du[3] = {};
        for (int chunk = 0; chunk < C; chunk++, t += per_table, x += per_atom, from += 4 * W) {
            const vec gs = load(from), gv[3] = {load(from + W), load(from + 2 * W), load(from + 3 * W)};
            const vec y = u[0] * gv[0] + u[1] * gv[1] + u[2] * gv[2];
            const vec x1 = load(x + W);
            vec p[3] = {load(x) * gs, x1 * y, vec{}}, w[3] = {};
            if constexpr (FILTERS == 3)
                p[2] = load(x + 2 * W) * (load(x + 3 * W) * gv[0] + load(x + 4 * W) * gv[1] + load(x + 5 * W) * gv[2]);
#pragma GCC unroll 4
            for (int k = 0; k < 4; k++)
#pragma GCC unroll 3
                for (int f = 0; f < FILTERS; f++) {
                    const vec coefficient = load(t + k * stride + f * W);
                    if (TRAINS || FILTERS == 3 || f == 1) w[f] += b[k] * coefficient;
                    if constexpr (TRAINS) {
                        real *at = learns + k * stride + f * W;
                        store(at, load(at) + b[k] * p[f]);
                    } else {
                        q[k] += coefficient * p[f];
                    }
                }
            if constexpr (TRAINS) {
                learns += per_table;
            } else {
                const vec along = w[1] * x1;
#pragma GCC unroll 3
                for (int c = 0; c < 3; c++) du[c] += along * gv[c];
            }
            if constexpr (FILTERS == 3) {
                store(to, load(to) + w[0] * gs);
                store(to + W, load(to + W) + w[1] * y);
#pragma GCC unroll 3
                for (int c = 0; c < 3; c++) store(to + (2 + c) * W, load(to + (2 + c) * W) + w[2] * gv[c]);
                to += 5 * W;
            } else if constexpr (TRAINS) {
                store(to, load(to) + w[0] * gs);
                store(to + W, load(to + W) + w[1] * y);
                to += 2 * W;
            }
        }
        if constexpr (TRAINS) continue;
        const vec dr = (edge->db[0] * q[0] + edge->db[1] * q[1]) + (edge->db[2] * q[2] + edge->db[3] * q[3]);
        const quad total = sums4(dr, du[0], du[1], du[2]);
        slope->dr += total[0];
        for (int c = 0; c < 3; c++) slope->du[c] += total[1 + c];
    }
}

}  // namespace MLFF_NAMESPACE
#endif
