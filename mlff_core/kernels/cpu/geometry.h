/* From positions to edges: checked, by centre, within the cutoff, with all that depends on the distance alone. */
#ifndef MLFF_GEOMETRY_H
#define MLFF_GEOMETRY_H

#include "job.h"

namespace MLFF_NAMESPACE {

/* Reads species and checks atoms; finds where each centre's edges are, sorting them first if they are not. */
static void index_edges(Job &j) {
    const mlff_batch &in = *j.in;
    const int64_t n = in.n_atoms, n_edges = in.n_edges;
    const real *x = static_cast<const real *>(in.positions);
    for (int64_t i = 0; i < n; i++) {
        const int64_t z = in.atomic_numbers[i];
        const int species = z < 0 || z > 118 ? -1 : j.m->species_of_number[z];
        if (species < 0) return j.fail(MLFF_UNKNOWN_ELEMENT, i);
        j.species[i] = species;
        if (in.system_idx[i] < 0 || in.system_idx[i] >= in.n_systems) return j.fail(MLFF_BAD_INDEX, i);
        const real sum = x[3 * i] * 0 + x[3 * i + 1] * 0 + x[3 * i + 2] * 0; /* NaN unless all are finite */
        if (!(sum == 0)) return j.fail(MLFF_NOT_FINITE, i);
    }
    /* Edges as neighbour searches give them, by centre, need one look. */
    bool sorted = true;
    int64_t next = 0;
    for (int64_t e = 0; e < n_edges; e++) {
        const int64_t i = in.centers[e], k = in.neighbors[e];
        if (i < 0 || i >= n || k < 0 || k >= n) return j.fail(MLFF_BAD_INDEX, e);
        if (i + 1 < next) sorted = false;
        while (next <= i) j.first[next++] = e;
    }
    if (sorted) {
        while (next <= n) j.first[next++] = n_edges;
        j.order = nullptr;
        return;
    }
    for (int64_t i = 0; i <= n; i++) j.first[i] = 0;
    for (int64_t e = 0; e < n_edges; e++) j.first[in.centers[e] + 1]++;
    for (int64_t i = 0; i < n; i++) j.first[i + 1] += j.first[i];
    for (int64_t e = 0; e < n_edges; e++) j.order[j.first[in.centers[e]]++] = e;
    for (int64_t i = n; i > 0; i--) j.first[i] = j.first[i - 1];
    j.first[0] = 0;
}

/* Energy and slope of half the screened nuclear repulsion of a pair at r, where it reaches that far. */
static MLFF_INLINE real zbl(const Model &m, int center, int neighbor, real r, real inverse_r, real &slope) {
    const int pair = center * m.n_species + neighbor;
    const real inverse_range = m.inverse_range[pair], y = r * inverse_range;
    slope = 0;
    if (!(y < 1)) return 0;
    const real k = m.inverse_screening[pair], x = r * k;
    const real shares[4] = {real(0.18175), real(0.50986), real(0.28022), real(0.02817)};
    const real rates[4] = {real(3.19980), real(0.94229), real(0.40290), real(0.20162)};
    real phi = 0, dphi = 0;
    for (int t = 0; t < 4; t++) {
        const real term = shares[t] * real(is_double ? __builtin_exp(-double(rates[t] * x)) : __builtin_expf(-float(rates[t] * x)));
        phi += term;
        dphi -= rates[t] * k * term;
    }
    const real y2 = y * y, y5 = y2 * y2 * y, y6 = y5 * y;
    const real u = 1 - y6 * (28 - y * (48 - 21 * y));
    const real du = -168 * y5 * (1 - y) * (1 - y) * inverse_range;
    const real coulomb = m.prefactor[pair] * inverse_r;
    slope = coulomb * (dphi * u + phi * du - phi * u * inverse_r);
    return coulomb * phi * u;
}

/* The width of the core's edge; see mlff_core/model/distance_floor.py. */
static constexpr real CORE_WIDTH = real(0.15);

/* The distance that filters see, and its slope in the true one. */
static MLFF_INLINE real held_distance(const Model &m, int center, int neighbor, real r, real &slope) {
    const real inverse_range = m.inverse_range[center * m.n_species + neighbor], y = r * inverse_range;
    slope = 1;
    if (!(y < m.core)) return r;
    real t = (y - (m.core - CORE_WIDTH)) * (1 / CORE_WIDTH);
    t = t < 0 ? 0 : t > 1 ? 1 : t;
    const real t2 = t * t;
    slope = t2 * t * (t * (6 * t - 15) + 10);
    return (m.core - CORE_WIDTH * (real(0.5) - t2 * t2 * (t2 - 3 * t + real(2.5)))) / inverse_range;
}

/* An edge of r below the cutoff and its unit vector; filters see it at `seen`, which grows with r by `slope`. */
static MLFF_INLINE void describe(const Model &m, const real *d, real r, real seen, real slope, Edge &o) {
    const real per_length = real(m.n_intervals) / m.cutoff, sixth = real(1) / 6;
    const real x = seen * per_length, per_distance = per_length * slope;
    int row = int(x);
    if (row >= m.n_intervals) row = m.n_intervals - 1;
    const real p = x - real(row), q = 1 - p;
    o.b[0] = q * q * q * sixth;
    o.b[1] = (4 + p * p * (3 * p - 6)) * sixth;
    o.b[2] = (4 + q * q * (3 * q - 6)) * sixth;
    o.b[3] = p * p * p * sixth;
    o.db[0] = real(-0.5) * q * q * per_distance;
    o.db[1] = (real(1.5) * p - 2) * p * per_distance;
    o.db[2] = (2 - real(1.5) * q) * q * per_distance;
    o.db[3] = real(0.5) * p * p * per_distance;
    o.r = r;
    o.inverse_r = 1 / r;
    for (int c = 0; c < 3; c++) o.u[c] = d[c] * o.inverse_r;
    o.row = integer(row);
}

/* Moves edges to `to` in the order of their rows; those of one row keep their order. */
static void sort_by_row(const Edge *from, int count, int n_rows, int *places, Edge *to) {
    memset(places, 0, sizeof(int) * size_t(n_rows + 1));
    for (int e = 0; e < count; e++) places[from[e].row + 1]++;
    for (int row = 0; row < n_rows; row++) places[row + 1] += places[row];
    for (int e = 0; e < count; e++) to[places[from[e].row]++] = from[e];
}

/* Fills the edges of the atoms of one group, and starts their energies with the repulsion. */
static void prepare_group(Job &j, const Job::Group &group, Edge *unsorted, int64_t capacity, int *places) {
    const Model &m = *j.m;
    const mlff_batch &in = *j.in;
    const real *positions = static_cast<const real *>(in.positions), *cells = static_cast<const real *>(in.cell);
    const real *shifts = static_cast<const real *>(in.cell_shifts);
    const int n_owned = j.n_owned();
    const bool sorts = j.first[group.start + group.size] - j.first[group.start] <= capacity;
    Edge *edge = sorts ? unsorted : group.edges;
    int count = 0;
    for (int i = group.start; i < group.start + group.size; i++) {
        const real *cell = cells + 9 * in.system_idx[i], *from = positions + 3 * i;
        for (int64_t position = j.first[i]; position < j.first[i + 1]; position++) {
            const int64_t e = j.order ? j.order[position] : position, k = in.neighbors[e];
            const real *to = positions + 3 * k, *n = shifts + 3 * e;
            real d[3];
            /* Difference first, then the shift: the reversed edge is then exactly the negative of this one. */
            for (int c = 0; c < 3; c++) d[c] = (to[c] - from[c]) + (n[0] * cell[c] + n[1] * cell[3 + c] + n[2] * cell[6 + c]);
            const real squared = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
            if (squared < m.overlap * m.overlap) j.fail(MLFF_OVERLAP, e);
            const real r = is_double ? real(__builtin_sqrt(double(squared))) : real(__builtin_sqrtf(float(squared)));
            if (!(r < m.cutoff)) continue;
            Edge &o = edge[count++];
            real seen = r, slope = 1;
            if (r < m.longest_closest && r < m.closest[j.species[i] * m.n_species + j.species[k]]) j.note(i);
            if (r < m.core * m.longest_zbl) seen = held_distance(m, j.species[i], j.species[k], r, slope);
            describe(m, d, r, seen, slope, o);
            o.neighbor = integer(k);
            o.center = integer(i - group.start);
        }
    }
    if (sorts) sort_by_row(unsorted, count, m.n_intervals, places, group.edges);
    *group.count = count;
    for (int k = 0; k < group.size; k++) j.atom_energies[group.start + k] = 0;
    for (int e = 0; e < count; e++) {
        const Edge &o = group.edges[e];
        EdgeGradient g = {0, {0, 0, 0}};
        const int i = group.start + int(o.center);
        if (o.r < m.longest_zbl && i < n_owned) {
            j.atom_energies[i] += double(zbl(m, j.species[i], j.species[o.neighbor], o.r, o.inverse_r, g.dr));
        }
        if (j.backward && !j.trains) group.slopes[e] = g;
    }
}

static void prepare_tile(Job &j, int t, real *memory) {
    int *places = reinterpret_cast<int *>(memory);
    const int64_t reserved = round_up(j.m->n_intervals + 1, 64) * int64_t(sizeof(int));
    Edge *unsorted = reinterpret_cast<Edge *>(reinterpret_cast<char *>(memory) + reserved);
    const int64_t left = j.scratch_size * int64_t(sizeof(real)) - reserved;
    /* A fine table's places may not fit beside a narrow model's arrays: then nothing is sorted. */
    const int64_t capacity = left > 0 ? left / int64_t(sizeof(Edge)) : -1;
    for (int g = 0; g * GROUP < j.atoms_in(t); g++) prepare_group(j, j.group(t, g), unsorted, capacity, places);
}

/* Adds what the edges of one share of the tiles give to forces and virials of its own. */
static void collect(void *context, int64_t share, int) {
    Job &j = *static_cast<Job *>(context);
    const mlff_batch &in = *j.in;
    double *force = j.force + share * 3 * in.n_atoms, *virial = j.virial + share * 9 * in.n_systems;
    memset(force, 0, sizeof(double) * 3 * size_t(in.n_atoms));
    memset(virial, 0, sizeof(double) * 9 * size_t(in.n_systems));
    for (int t = j.share_start(share); t < j.share_start(share + 1); t++)
        for (int g = 0; g * GROUP < j.atoms_in(t); g++) {
            const Job::Group group = j.group(t, g);
            for (int e = 0; e < *group.count; e++) {
                const Edge &edge = group.edges[e];
                const EdgeGradient &s = group.slopes[e];
                /* The slopes are those of the reversed edge, whose direction is −u. */
                const real along = s.du[0] * edge.u[0] + s.du[1] * edge.u[1] + s.du[2] * edge.u[2];
                const int64_t i = group.start + int64_t(edge.center);
                double *own = force + 3 * i, *other = force + 3 * int64_t(edge.neighbor), *w = virial + 9 * in.system_idx[i];
                for (int c = 0; c < 3; c++) {
                    const double f = double((s.du[c] - along * edge.u[c]) * edge.inverse_r - s.dr * edge.u[c]);
                    own[c] -= f;
                    other[c] += f;
                    if (in.virial)
                        for (int k = 0; k < 3; k++) w[3 * k + c] += double(edge.r * edge.u[k]) * f;
                }
            }
        }
}

/* The sums (n_shares, n) over the shares, in their order. */
static void write_sums(const Job &j, const double *sums, int64_t n, void *out) {
    if (!out) return;
    for (int64_t k = 0; k < n; k++) {
        double total = sums[k];
        for (int share = 1; share < j.n_shares; share++) total += sums[share * n + k];
        static_cast<real *>(out)[k] = real(total);
    }
}

}  // namespace MLFF_NAMESPACE
#endif
