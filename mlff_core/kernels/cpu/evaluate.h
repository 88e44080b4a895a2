/* The order of work. A tile's messages, update, and the φ of the next layer are one piece of work, so that threads meet
 * once a layer; the last layer's tile turns round on the spot. */
#ifndef MLFF_EVALUATE_H
#define MLFF_EVALUATE_H

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
    readout(m, left < atoms ? int(left) : atoms, atoms, j.backward, z, j.atom_energies + start, factors, step.learned);
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
        if (in->energy) in->energy[in->system_idx[i]] += energy;
        if (in->atom_energies) in->atom_energies[i] = energy;
    }
    return MLFF_OK;
}

}  // namespace MLFF_NAMESPACE
#endif
