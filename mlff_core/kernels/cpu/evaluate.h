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
            const real *s = FILTERS == 2 ? m.embedding + int64_t(j.species[i]) * m.Fp : j.s + int64_t(i) * m.Fp;
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
static void publish_gradients(const Model &m, int rows, const Scratch &z, real *g) {
    const int C = m.C;
    for (int row = 0; row < rows; row++)
        for (int chunk = 0; chunk < C; chunk++) {
            real *to = g + (row * C + chunk) * 4 * W;
            store(to, load(z.gs + (row * C + chunk) * W));
            for (int c = 0; c < 3; c++) store(to + (1 + c) * W, load(z.gv + ((row * 3 + c) * C + chunk) * W));
        }
}

static Kept kept(const Job &j, int k, int64_t start, const Scratch &z) {
    if (k + 1 == j.m->n_layers || !j.backward) return {z.uw, z.gates, z.slope};
    return {j.uw[k] + start * 6 * j.m->Fp, j.gates[k] + start * 2 * j.m->Fp, j.slope_a[k] + start * j.m->Fp};
}

static void forward_tile(void *context, int64_t t, int thread) {
    const Step &step = *static_cast<Step *>(context);
    Job &j = *step.job;
    const Model &m = *j.m;
    const int k = step.layer, C = m.C, atoms = j.atoms_in(int(t)), rows = j.rows_in(int(t));
    const int64_t start = t * j.tile;
    Scratch z(m, thread_scratch(j, thread));
    if (k == 0) receive<2>(j, k, int(t), z);
    else receive<3>(j, k, int(t), z);
    for (int row = atoms; row < rows; row++) {
        memset(z.s + row * 2 * C * W, 0, sizeof(real) * 2 * size_t(C) * W);
        memset(z.v + row * 3 * C * W, 0, sizeof(real) * 3 * size_t(C) * W);
    }
    const Kept keep = kept(j, k, start, z);
    update(m, m.layers[k], rows, z, keep);
    if (k + 1 < m.n_layers) {
        real *slope_p = j.backward ? j.slope_p[k + 1] + start * m.Fp : z.slope;
        publish(m, m.layers[k + 1], rows, z, j.xv[k + 1] + start * 6 * m.Fp, slope_p);
        for (int row = 0; row < rows; row++)
            memcpy(j.s + (start + row) * m.Fp, z.s + row * 2 * C * W, sizeof(real) * size_t(m.Fp));
        return;
    }
    readout(m, atoms, rows, j.backward, z, j.atom_energies + start);
    if (!j.backward) return;
    update_back(m, m.layers[k], rows, z, keep);
    publish_gradients(m, rows, z, j.g[k & 1] + start * 4 * m.Fp);
}

/* The gradients of φ(s), v and s before layer k's messages into z.a, z.gv and z.gs; g holds those after them. */
static void send_back(Job &j, int k, int t, const real *g, Scratch &z) {
    const Model &m = *j.m;
    const int C = m.C, Fp = m.Fp;
    for (int n = 0; n * GROUP < j.atoms_in(t); n++) {
        const Job::Group group = j.group(t, n);
        const real *from = z.guw;
        gather_back<3>(j, m.layers[k], j.xv[k], g, group, z.guw);
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

/* From the gradients after layer k's messages to those after layer k−1's. */
static void backward_tile(void *context, int64_t t, int thread) {
    const Step &step = *static_cast<Step *>(context);
    Job &j = *step.job;
    const Model &m = *j.m;
    const int k = step.layer, C = m.C, Fp = m.Fp, atoms = j.atoms_in(int(t)), rows = j.rows_in(int(t));
    const int64_t start = t * j.tile;
    const Layer &layer = m.layers[k];
    const real *g = j.g[k & 1];
    Scratch z(m, thread_scratch(j, thread));
    if (k == 0) {
        for (int n = 0; n * GROUP < atoms; n++) gather_back<2>(j, layer, m.first_phi, g, j.group(int(t), n), nullptr);
        return;
    }
    send_back(j, k, int(t), g, z);
    for (int row = atoms; row < rows; row++) {
        memset(z.a + row * 3 * C * W, 0, sizeof(real) * 3 * size_t(Fp));
        memset(z.gv + row * 3 * C * W, 0, sizeof(real) * 3 * size_t(Fp));
        memset(z.gs + row * C * W, 0, sizeof(real) * size_t(Fp));
    }
    const real *slope_p = j.slope_p[k] + start * Fp;
    multiply(z.a, 3 * Fp, rows, layer.phi2.backward, [&](int row, int chunk, vec value) MLFF_LAMBDA_INLINE {
        const int64_t at = (row * C + chunk) * W;
        store(z.h + at, value * load(slope_p + at));
    });
    multiply(z.h, Fp, rows, layer.phi1.backward, [&](int row, int chunk, vec value) MLFF_LAMBDA_INLINE {
        real *gs = z.gs + (row * C + chunk) * W;
        store(gs, load(gs) + value);
    });
    update_back(m, m.layers[k - 1], rows, z, kept(j, k - 1, start, z));
    publish_gradients(m, rows, z, j.g[(k - 1) & 1] + start * 4 * Fp);
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

static int64_t lay_out(Job &j, char *memory, double *&force, double *&virial, int n_threads) {
    const Model &m = *j.m;
    const int64_t n = j.n_atoms, e = j.in->n_edges, padded = int64_t(j.n_tiles) * j.tile, F = m.Fp;
    Layout at{memory};
    j.first = at.take<int64_t>(n + 1);
    j.order = at.take<int64_t>(e);
    j.count = at.take<int>(int64_t(j.n_tiles) * j.groups());
    j.species = at.take<int>(n);
    j.atom_energies = at.take<double>(n);
    j.edges = at.take<Edge>(e);
    j.slopes = at.take<EdgeGradient>(j.backward ? e : 0);
    j.s = at.take<real>(padded * F);
    j.scratch_size = Scratch::size(m);
    j.scratch = at.take<real>(j.scratch_size * n_threads);
    force = at.take<double>(j.backward ? 3 * n : 0);
    virial = at.take<double>(j.backward ? 9 * j.in->n_systems : 0);
    real ***rows[] = {&j.xv, &j.uw, &j.gates, &j.slope_a, &j.slope_p};
    const int widths[] = {6, 6, 2, 1, 1};
    for (int array = 0; array < 5; array++) {
        real **layers = *rows[array] = at.take<real *>(m.n_layers);
        const bool skips_first = array == 0 || array == 4, only_back = array > 0;
        for (int k = 0; k < m.n_layers; k++) {
            const bool used = (skips_first ? k > 0 : k + 1 < m.n_layers) && (j.backward || !only_back);
            real *data = at.take<real>(used ? padded * F * widths[array] : 0);
            if (memory) layers[k] = data;
        }
    }
    for (real *&g : j.g) g = at.take<real>(j.backward ? padded * F * 4 : 0);
    return at.used;
}

static int32_t evaluate(const void *model, mlff_batch *in, const mlff::Parallel &parallel, mlff::Arena &arena) {
    const Model &m = *static_cast<const Model *>(model);
    Job j = {};
    j.m = &m;
    j.in = in;
    j.n_atoms = int(in->n_atoms);
    j.backward = in->forces || in->virial;
    /* Tiles small enough that every thread has some, and whole row blocks. */
    const int share = round_up((j.n_atoms + parallel.n_threads - 1) / parallel.n_threads, MR);
    j.tile = share < TILE ? share : TILE;
    if (j.tile == 0) j.tile = MR;
    j.n_tiles = (j.n_atoms + j.tile - 1) / j.tile;
    double *force = nullptr, *virial = nullptr;
    const int64_t needed = lay_out(j, nullptr, force, virial, parallel.n_threads) + 64;
    if (arena.size < needed) {
        free(arena.data);
        void *memory = nullptr;
        if (posix_memalign(&memory, 64, size_t(needed)) != 0) {
            arena = {nullptr, 0};
            return MLFF_NO_MEMORY;
        }
        arena = {static_cast<char *>(memory), needed};
    }
    lay_out(j, arena.data, force, virial, parallel.n_threads);

    index_edges(j);
    if (j.status) return j.status;
    Step step{&j, 0};
    parallel(j.n_tiles, prepare, &step);
    if (j.status) return j.status;
    for (step.layer = 0; step.layer < m.n_layers; step.layer++) parallel(j.n_tiles, forward_tile, &step);
    if (j.backward) {
        for (step.layer = m.n_layers - 1; step.layer >= 0; step.layer--) parallel(j.n_tiles, backward_tile, &step);
        collect(j, force, virial);
    }
    if (in->energy) memset(in->energy, 0, sizeof(double) * size_t(in->n_systems));
    for (int i = 0; i < j.n_atoms; i++) {
        const double energy = j.atom_energies[i] + m.reference[j.species[i]];
        if (in->energy) in->energy[in->system_idx[i]] += energy;
        if (in->atom_energies) in->atom_energies[i] = energy;
    }
    return MLFF_OK;
}

}  // namespace MLFF_NAMESPACE
#endif
