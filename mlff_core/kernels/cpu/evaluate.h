/* An evaluation: its memory is laid out, then its tiles are worked off layer by layer, and sums are written out. */
#ifndef MLFF_EVALUATE_H
#define MLFF_EVALUATE_H

#include "tiles.h"

namespace MLFF_NAMESPACE {

/* Lays arrays one after the other; a first pass with no memory counts it. */
struct Layout {
    char *base;
    int64_t used = 0;
    template <class T>
    T *take(int64_t count) {
        T *at = base ? reinterpret_cast<T *>(base + used) : nullptr;
        used += (count * int64_t(sizeof(T)) + 127) / 64 * 64;
        return at;
    }
};

/* One share of the tiles: in order, into a sum of its own, whichever thread takes it. */
static void take_share(void *context, int64_t share, int thread) {
    Step step = *static_cast<Step *>(context);
    const Job &j = *step.job;
    step.learned = j.gradients + share;
    for (int t = j.share_start(share); t < j.share_start(share + 1); t++) step.tile(&step, t, thread);
}

static int64_t lay_out(Job &j, char *memory, int n_threads) {
    const Model &m = *j.m;
    const int64_t n = j.n_atoms, e = j.in->n_edges, padded = int64_t(j.n_tiles) * j.tile, F = m.Fp;
    Layout at{memory};
    j.first = at.take<int64_t>(n + 1);
    j.order = at.take<int64_t>(e);
    j.count = at.take<int>(int64_t(j.n_tiles) * j.groups());
    j.species = at.take<int>(n);
    j.atom_energies = at.take<double>(n);
    j.edges = at.take<Edge>(e);
    j.slopes = at.take<EdgeGradient>(j.backward && !j.trains ? e : 0);
    j.scratch_size = Scratch::size(m);
    j.scratch = at.take<real>(j.scratch_size * n_threads);
    j.force = at.take<double>(j.backward && !j.trains ? 3 * n * j.n_shares : 0);
    j.virial = at.take<double>(j.backward && !j.trains ? 9 * j.in->n_systems * j.n_shares : 0);
    const struct {
        real ***layers;
        int width;
        bool in_first, in_last, used;
    } fields[] = {{&j.xv, 6, false, true, true},       {&j.uw, 6, true, false, j.backward},
                  {&j.gates, 2, true, false, j.backward}, {&j.slope_a, 1, true, false, j.backward},
                  {&j.slope_p, 1, false, true, j.backward}, {&j.norms, 2, true, true, j.trains},
                  {&j.v, 3, true, true, j.trains},       {&j.h_a, 1, true, true, j.trains},
                  {&j.h_p, 1, false, true, j.trains},    {&j.s, 1, false, true, j.trains}};
    for (const auto &field : fields) {
        real **layers = *field.layers = at.take<real *>(m.n_layers);
        for (int k = 0; k < m.n_layers; k++) {
            const bool used = field.used && (k > 0 || field.in_first) && (k + 1 < m.n_layers || field.in_last);
            real *data = at.take<real>(used ? padded * F * field.width : 0);
            if (memory) layers[k] = data;
        }
    }
    if (!j.trains) {
        real *one = at.take<real>(padded * F);
        for (int k = 0; k < m.n_layers && memory; k++) j.s[k] = one;
    }
    j.gradients = at.take<Gradient>(j.trains ? j.n_shares : 0);
    for (int share = 0; share < j.n_shares && j.trains; share++) {
        Gradient sum;
        lay_out_gradient(m, at, sum);
        if (memory) j.gradients[share] = sum;
    }
    for (real *&g : j.g) g = at.take<real>(j.backward ? padded * F * 4 : 0);
    return at.used;
}

static Job planned(const Model &m, mlff_batch *in, const mlff::Parallel &parallel) {
    Job j = {};
    j.m = &m;
    j.in = in;
    j.outside = -1;
    j.n_atoms = int(in->n_atoms);
    j.trains = in->gradient;
    j.backward = in->forces || in->virial || j.trains;
    j.n_shares = parallel.n_shares;
    /* As many tiles for each thread as for the others, of whole row blocks: half a tile left over costs a whole one's time. */
    const int n_tiles = round_up((j.n_atoms + TILE - 1) / TILE, j.n_shares);
    j.tile = n_tiles ? round_up((j.n_atoms + n_tiles - 1) / n_tiles, MR) : MR;
    j.n_tiles = (j.n_atoms + j.tile - 1) / j.tile;
    return j;
}

static int64_t needed_bytes(const void *model, mlff_batch *in, const mlff::Parallel &parallel) {
    Job j = planned(*static_cast<const Model *>(model), in, parallel);
    return lay_out(j, nullptr, parallel.n_threads) + 64;
}

static int32_t evaluate(const void *model, mlff_batch *in, const mlff::Parallel &parallel, mlff::Arena &arena) {
    const Model &m = *static_cast<const Model *>(model);
    for (int64_t k = 0, most = in->n_atoms; in->n_centers && k < m.n_layers; most = in->n_centers[k++])
        if (in->n_centers[k] < 0 || in->n_centers[k] > most) return MLFF_BAD_REQUEST;
    if ((in->charges || in->charge_cotangents) && !m.charge.width) return MLFF_BAD_REQUEST;
    Job j = planned(m, in, parallel);
    const int64_t needed = needed_bytes(model, in, parallel);
    if (arena.size < needed) {
        free(arena.data);
        void *memory = nullptr;
        if (posix_memalign(&memory, 64, size_t(needed)) != 0) {
            arena = {nullptr, 0};
            return MLFF_NO_MEMORY;
        }
        arena = {static_cast<char *>(memory), needed};
    }
    lay_out(j, arena.data, parallel.n_threads);

    index_edges(j);
    if (j.status) return j.status;
    Step step{&j, 0, nullptr, nullptr};
    parallel(j.n_tiles, prepare, &step);
    if (j.status) return j.status;
    for (step.layer = 0; step.layer + 1 < m.n_layers; step.layer++) {
        parallel(j.tiles_of(step.layer), forward_tile, &step);
        clear_others(j, step.layer, j.xv[step.layer + 1], 6 * m.Fp);
    }
    if (j.trains) {
        for (int share = 0; share < j.n_shares; share++)
            memset(j.gradients[share].data, 0, sizeof(real) * size_t(j.gradients[share].size));
        step.tile = forward_tile;
        parallel(j.n_shares, take_share, &step);
        step.tile = backward_tile;
        for (; step.layer >= 0; step.layer--) parallel(j.n_shares, take_share, &step);
        Gradient &sum = j.gradients[0];
        for (int share = 1; share < j.n_shares; share++)
            for (int64_t k = 0; k < sum.size; k++) sum.data[k] += j.gradients[share].data[k];
        write_gradient(m, sum, static_cast<real *>(in->gradient));
    } else {
        parallel(j.tiles_of(step.layer), forward_tile, &step);
    }
    if (j.backward && !j.trains) {
        for (; step.layer > 0; step.layer--) {
            clear_others(j, step.layer, j.g[step.layer & 1], 4 * m.Fp);
            parallel(j.tiles_of(step.layer - 1), backward_tile, &step);
        }
        clear_others(j, 0, j.g[0], 4 * m.Fp);
        parallel(j.n_tiles, backward_tile, &step);
        parallel(j.n_shares, collect, &j);
        write_sums(j, j.force, 3 * in->n_atoms, in->forces);
        write_sums(j, j.virial, 9 * in->n_systems, in->virial);
    }
    if (in->energy) memset(in->energy, 0, sizeof(double) * size_t(in->n_systems));
    const int n_owned = j.n_owned();
    for (int i = 0; i < j.n_atoms; i++) {
        const double energy = i < n_owned ? j.atom_energies[i] + m.reference[j.species[i]] : 0.0;
        if (m.lowest && i < n_owned) {
            /* Not "outside": an energy that is no number is outside too. */
            const int species = j.species[i];
            if (!(j.atom_energies[i] >= m.lowest[species] && j.atom_energies[i] <= m.highest[species])) j.outside = i;
        }
        if (in->energy) in->energy[in->system_idx[i]] += energy;
        if (in->atom_energies) in->atom_energies[i] = energy;
        if (in->charges && i >= n_owned) in->charges[i] = 0.0;
    }
    if (m.lowest && in->forces) {
        const real *forces = static_cast<const real *>(in->forces);
        for (int64_t k = 0; k < 3 * in->n_atoms; k++)
            if (!(double(forces[k] < 0 ? -forces[k] : forces[k]) <= m.largest_force)) j.outside = k / 3;
    }
    if (j.outside >= 0) in->culprit = j.outside;
    return MLFF_OK;
}

}  // namespace MLFF_NAMESPACE
#endif
