/* One tile of atoms through a layer, there and back. A tile's messages, update, and the φ of the next layer are one piece
 * of work, so that threads meet once a layer; the last layer's tile turns round on the spot. */
#ifndef MLFF_TILES_H
#define MLFF_TILES_H

#include "blocks.h"
#include "geometry.h"
#include "message.h"
#include "variant.h"

namespace MLFF_NAMESPACE {

struct Step {
    Job *job;
    int layer;
    void (*tile)(void *, int64_t, int);
    const Gradient *learned; /* null unless this trains */
};

static MLFF_INLINE real *thread_scratch(const Job &j, int thread) { return j.scratch + thread * j.scratch_size; }

template <int FILTERS>
static void receive(const Job &j, int k, int t, Scratch &z) {
    const Model &m = *j.m;
    const int C = m.C;
    for (int g = 0; g * GROUP < j.atoms_in(t); g++) {
        const Job::Group group = j.group(t, g);
        const real *sums = z.guw;
        gather<FILTERS>(j, m.layers[k], FILTERS == 2 ? m.first_phi : j.xv[k], group, z.guw);
        for (int i = group.start, row = g * GROUP; i < group.start + group.size; i++, row++) {
            const real *s = FILTERS == 2 ? m.embedding + int64_t(j.species[i]) * m.Fp : j.s[k] + int64_t(i) * m.Fp;
            for (int chunk = 0; chunk < C; chunk++, sums += 4 * W) {
                store(z.s + (row * 2 * C + chunk) * W, load(s + chunk * W) + load(sums));
                for (int c = 0; c < 3; c++) {
                    vec v = load(sums + (1 + c) * W);
                    if (FILTERS == 3) v += load(j.xv[k] + ((int64_t(i) * C + chunk) * 6 + 3 + c) * W);
                    store(z.v + ((row * 3 + c) * C + chunk) * W, v);
                }
            }
        }
    }
}

/* z.gs and z.gv to where neighbours read them. */
static void publish_gradients(const Model &m, int atoms, const Scratch &z, real *g) {
    const int C = m.C;
    for (int row = 0; row < atoms; row++)
        for (int chunk = 0; chunk < C; chunk++) {
            real *to = g + (row * C + chunk) * 4 * W;
            store(to, load(z.gs + (row * C + chunk) * W));
            for (int c = 0; c < 3; c++) store(to + (1 + c) * W, load(z.gv + ((row * 3 + c) * C + chunk) * W));
        }
}

static Kept kept(const Job &j, int k, int64_t start, const Scratch &z) {
    const int64_t at = start * j.m->Fp;
    Kept kept = {z.uw, z.gates, z.slope, nullptr, nullptr, nullptr};
    if (k + 1 < j.m->n_layers && j.backward) kept = {j.uw[k] + 6 * at, j.gates[k] + 2 * at, j.slope_a[k] + at, nullptr, nullptr, nullptr};
    if (j.trains) {
        kept.norms = j.norms[k] + 2 * at;
        kept.v = j.v[k] + 3 * at;
        kept.h = j.h_a[k] + at;
    }
    return kept;
}

static void forward_tile(void *context, int64_t t, int thread) {
    const Step &step = *static_cast<Step *>(context);
    Job &j = *step.job;
    const Model &m = *j.m;
    const int k = step.layer, C = m.C, atoms = j.atoms_in(int(t));
    const int64_t start = t * j.tile;
    Scratch z(m, thread_scratch(j, thread));
    if (k == 0) receive<2>(j, k, int(t), z);
    else receive<3>(j, k, int(t), z);
    const Kept keep = kept(j, k, start, z);
    update(m, m.layers[k], atoms, z, keep);
    if (k + 1 < m.n_layers) {
        real *slope_p = j.backward ? j.slope_p[k + 1] + start * m.Fp : z.slope;
        real *hidden = j.trains ? j.h_p[k + 1] + start * m.Fp : z.h;
        publish(m, m.layers[k + 1], atoms, z, j.xv[k + 1] + start * 6 * m.Fp, slope_p, hidden);
        for (int row = 0; row < atoms; row++)
            memcpy(j.s[k + 1] + (start + row) * m.Fp, z.s + row * 2 * C * W, sizeof(real) * size_t(m.Fp));
        return;
    }
    const double *factors = j.in->cotangents ? j.in->cotangents + start : nullptr;
    /* Nothing flows back from atoms that are only there to be seen. */
    const int64_t left = j.n_owned() - start;
    const int owned = left < atoms ? int(left) : atoms;
    read_energies(m, owned, atoms, j.backward, z, j.species + start, j.atom_energies + start, factors, step.learned);
    const double *seeds = j.in->charge_cotangents;
    if (j.in->charges || seeds)
        read_charges(m, owned, atoms, j.backward, z, j.in->charges ? j.in->charges + start : nullptr, seeds ? seeds + start : nullptr,
                     step.learned);
    if (!j.backward) return;
    update_back(m, m.layers[k], atoms, z, keep, step.learned ? step.learned->layers + k : nullptr);
    publish_gradients(m, atoms, z, j.g[k & 1] + start * 4 * m.Fp);
}

/* The gradients of φ(s), v and s before layer k's messages into z.a, z.gv and z.gs; g holds those after them. */
static void send_back(Job &j, int k, int t, const real *g, Scratch &z, const Gradient *learned) {
    const Model &m = *j.m;
    const int C = m.C, Fp = m.Fp;
    for (int n = 0; n * GROUP < j.atoms_in(t); n++) {
        const Job::Group group = j.group(t, n);
        const real *from = z.guw;
        if (learned) gather_back<3, true>(j, m.layers[k], j.xv[k], g, group, z.guw, learned);
        else gather_back<3, false>(j, m.layers[k], j.xv[k], g, group, z.guw, nullptr);
        for (int64_t i = group.start, row = n * GROUP; i < group.start + group.size; i++, row++) {
            const real *x = j.xv[k] + i * 6 * Fp, *own = g + i * 4 * Fp;
            for (int chunk = 0; chunk < C; chunk++, x += 6 * W, own += 4 * W, from += 5 * W) {
                real *a = z.a + (row * 3 * C + chunk) * W;
                store(a, load(from));
                store(a + Fp, load(from + W));
                vec through = {};
                const vec x2 = load(x + 2 * W);
                for (int c = 0; c < 3; c++) {
                    const vec gathered = load(from + (2 + c) * W);
                    through += load(x + (3 + c) * W) * gathered;
                    store(z.gv + ((row * 3 + c) * C + chunk) * W, load(own + (1 + c) * W) + x2 * gathered);
                }
                store(a + 2 * Fp, through);
                store(z.gs + (row * C + chunk) * W, load(own));
            }
        }
    }
}

/* The features of an atom begin as its species' embedding. */
static void learn_embedding(const Job &j, int64_t start, int atoms, const real *g, const Gradient &learned) {
    const int C = j.m->C;
    for (int64_t i = start; i < start + atoms; i++)
        for (int64_t chunk = 0; chunk < C; chunk++) {
            real *to = learned.embedding + (j.species[i] * C + chunk) * W;
            store(to, load(to) + load(g + (i * C + chunk) * 4 * W));
        }
}

/* From the gradients after layer k's messages to those after layer k−1's. */
static void backward_tile(void *context, int64_t t, int thread) {
    const Step &step = *static_cast<Step *>(context);
    Job &j = *step.job;
    const Model &m = *j.m;
    const int k = step.layer, C = m.C, Fp = m.Fp, atoms = j.atoms_in(int(t));
    const int64_t start = t * j.tile;
    const Layer &layer = m.layers[k];
    const real *g = j.g[k & 1];
    Scratch z(m, thread_scratch(j, thread));
    if (k == 0) {
        for (int n = 0; n * GROUP < atoms; n++)
            if (step.learned) gather_back<2, true>(j, layer, m.first_phi, g, j.group(int(t), n), nullptr, step.learned);
            else gather_back<2, false>(j, layer, m.first_phi, g, j.group(int(t), n), nullptr, nullptr);
        if (step.learned) learn_embedding(j, start, atoms, g, *step.learned);
        return;
    }
    send_back(j, k, int(t), g, z, step.learned);
    const real *slope_p = j.slope_p[k] + start * Fp;
    const LayerGradient *learned = step.learned ? step.learned->layers : nullptr;
    if (learned) learned[k].phi2.add(z.a, j.h_p[k] + start * Fp, Fp, atoms);
    multiply(z.a, 3 * Fp, atoms, layer.phi2.backward, [&](int row, int chunk, vec value) MLFF_LAMBDA_INLINE {
        const int64_t at = (row * C + chunk) * W;
        store(z.h + at, value * load(slope_p + at));
    });
    if (learned) learned[k].phi1.add(z.h, j.s[k] + start * Fp, Fp, atoms);
    multiply(z.h, Fp, atoms, layer.phi1.backward, [&](int row, int chunk, vec value) MLFF_LAMBDA_INLINE {
        real *gs = z.gs + (row * C + chunk) * W;
        store(gs, load(gs) + value);
    });
    update_back(m, m.layers[k - 1], atoms, z, kept(j, k - 1, start, z), learned ? learned + k - 1 : nullptr);
    publish_gradients(m, atoms, z, j.g[(k - 1) & 1] + start * 4 * Fp);
}

/* Rows of an array (padded atoms, width) that layer k's tiles do not write: neighbours read them, times zero. */
static void clear_others(const Job &j, int k, real *rows, int64_t width) {
    const int64_t from = int64_t(j.tiles_of(k)) * j.tile, all = int64_t(j.n_tiles) * j.tile;
    if (from < all) memset(rows + from * width, 0, sizeof(real) * size_t((all - from) * width));
}

static void prepare(void *context, int64_t t, int thread) {
    Job &j = *static_cast<Step *>(context)->job;
    prepare_tile(j, int(t), thread_scratch(j, thread));
}

}  // namespace MLFF_NAMESPACE
#endif
