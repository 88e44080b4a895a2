/* The network's numbers, padded to whole vectors and packed in the order in which they are read. */
#ifndef MLFF_MODEL_H
#define MLFF_MODEL_H

#include <initializer_list>

#include "gemm.h"
#include "variant.h"

namespace MLFF_NAMESPACE {

/* Aligned memory that belongs to a model; all of it is freed at once. */
struct Store {
    struct Block {
        Block *next;
    };
    Block *first = nullptr;
    real *take(int64_t count) {
        void *memory = nullptr;
        if (posix_memalign(&memory, 64, 64 + sizeof(real) * size_t(count)) != 0) return nullptr;
        Block *block = static_cast<Block *>(memory);
        block->next = first;
        first = block;
        real *data = reinterpret_cast<real *>(static_cast<char *>(memory) + 64);
        memset(data, 0, sizeof(real) * size_t(count));
        return data;
    }
    ~Store() {
        while (first) {
            Block *next = first->next;
            free(first);
            first = next;
        }
    }
};

/* A linear layer for going forward and, transposed, for going back. */
struct Linear {
    Matrix forward, backward;
    real *bias = nullptr;
};

/* Coefficients of the cubic B-splines of all filters, (n_intervals + 3, chunks, filters, W). */
struct Table {
    int filters = 0;
    real *data = nullptr;
};

struct Layer {
    int table = 0;
    Linear phi1, phi2, mix, a1, a2;
    bool writes_vectors = false;
};

/* Two layers from the features of an atom to one number; absent where it has no chunks. */
struct Readout {
    Linear hidden;
    real *weight = nullptr;
    real bias = 0;
    int width = 0, chunks = 0; /* of the hidden layer */
};

struct Model {
    Store memory;
    int F = 0, Fp = 0, C = 0, n_layers = 0, n_species = 0, n_intervals = 0, n_tables = 0;
    int64_t n_parameters = 0;
    real cutoff = 0, smoothing = 0, scale = 0, overlap = 0, core = 0, longest_zbl = 0;
    real *embedding = nullptr; /* (n_species, Fp) */
    real *first_phi = nullptr; /* (n_species, C, 2, W) */
    Table *tables = nullptr;
    Layer *layers = nullptr;
    Readout energy, charge;
    real *floor = nullptr, *ceiling = nullptr; /* (n_species): where the learned energy of an atom begins to saturate */
    real saturation_width = 0;
    real *inverse_screening = nullptr, *inverse_range = nullptr, *prefactor = nullptr;
    double *reference = nullptr;
    int *species_of_number = nullptr;
    double *lowest = nullptr, *highest = nullptr; /* (n_species), or null where there are no bounds */
    real *closest = nullptr;                      /* (n_species, n_species) */
    real longest_closest = 0;
    double largest_force = 0;
    ~Model() {
        delete[] tables;
        delete[] layers;
        free(reference);
        free(lowest);
        free(highest);
        free(species_of_number);
    }
};

static inline int round_up(int n, int step) { return (n + step - 1) / step * step; }

/* Reads the trainable numbers one after the other: into memory that it takes at the first reading, and into the same
 * memory at later ones. What is padding stays zero. */
struct Reader {
    const real *next, *end;
    Model &model;
    bool failed = false;

    const real *numbers(int64_t count) {
        failed |= end - next < count;
        if (failed) return nullptr;
        next += count;
        return next - count;
    }

    bool place(real *&to, int64_t count) {
        if (!to) to = model.memory.take(count);
        failed |= !to;
        return !failed;
    }

    /* Rows of `parts` segments, each padded from n to whole vectors. */
    void padded(real *&to, int rows, int parts, int n) {
        const int np = round_up(n, W);
        const real *from = numbers(int64_t(rows) * parts * n);
        if (!place(to, int64_t(rows) * parts * np)) return;
        for (int64_t row = 0; row < int64_t(rows) * parts; row++) memcpy(to + row * np, from + row * n, sizeof(real) * size_t(n));
    }

    /* Rows of `parts` segments of F, stored (rows, chunks, parts, W): what one step of a loop reads lies together. */
    void interleaved(real *&to, int rows, int parts) {
        const int F = model.F, C = model.C;
        const real *from = numbers(int64_t(rows) * parts * F);
        if (!place(to, int64_t(rows) * parts * model.Fp)) return;
        for (int64_t row = 0; row < rows; row++)
            for (int part = 0; part < parts; part++)
                for (int k = 0; k < F; k += W) {
                    const int count = F - k < W ? F - k : W;
                    memcpy(to + ((row * C + k / W) * parts + part) * W, from, sizeof(real) * size_t(count));
                    from += count;
                }
    }

    /* W (out, in) of segments with no and ni entries, as the matrix of x Wᵀ or, for going back, of x W. */
    void packed(Matrix &m, const real *w, int out_parts, int no, int in_parts, int ni, bool back) {
        const int64_t n_in = in_parts * ni;
        const int depth_parts = back ? out_parts : in_parts, nd = back ? no : ni, depth_pad = round_up(nd, W);
        const int width_parts = back ? in_parts : out_parts, nw = back ? ni : no, width_pad = round_up(nw, W);
        m.depth = depth_parts * depth_pad;
        m.chunks = width_parts * width_pad / W;
        m.groups = (m.chunks + NR - 1) / NR;
        if (!place(m.data, int64_t(m.depth) * m.chunks * W)) return;
        real *panel = m.data;
        for (int group = 0, chunk = 0; group < m.groups; chunk += m.width(group), group++) {
            const int width = m.width(group);
            for (int n = 0; n < width; n++) {
                const int wk = (chunk + n) * W % width_pad, count = nw - wk < W ? nw - wk : W;
                const int64_t wide = (chunk + n) * W / width_pad * nw + wk;
                for (int part = 0; part < depth_parts; part++) {
                    real *to = panel + (int64_t(part) * depth_pad * width + n) * W;
                    for (int64_t deep = int64_t(part) * nd; deep < int64_t(part + 1) * nd; deep++, to += width * W)
                        if (back) memcpy(to, w + deep * n_in + wide, sizeof(real) * size_t(count));
                        else
                            for (int lane = 0; lane < count; lane++) to[lane] = w[(wide + lane) * n_in + deep];
                }
            }
            panel += int64_t(m.depth) * width * W;
        }
    }

    void linear(Linear &layer, int out_parts, int no, int in_parts, int ni, bool has_bias) {
        const real *w = numbers(int64_t(out_parts) * no * in_parts * ni);
        if (failed) return;
        packed(layer.forward, w, out_parts, no, in_parts, ni, false);
        packed(layer.backward, w, out_parts, no, in_parts, ni, true);
        if (has_bias) padded(layer.bias, 1, out_parts, no);
    }
};

/* Reads all trainable numbers; false where they are too few or too many, or memory is short. */
static bool read_parameters(Model &m, const void *parameters, int64_t n_parameters) {
    const real *numbers = static_cast<const real *>(parameters);
    Reader in{numbers, numbers + n_parameters, m};
    in.padded(m.embedding, m.n_species, 1, m.F);
    in.interleaved(m.first_phi, m.n_species, 2);
    for (int k = 0; k < m.n_tables; k++) in.interleaved(m.tables[k].data, m.n_intervals + 3, m.tables[k].filters);
    for (int k = 0; k < m.n_layers; k++) {
        Layer &layer = m.layers[k];
        if (k > 0) {
            in.linear(layer.phi1, 1, m.F, 1, m.F, true);
            in.linear(layer.phi2, 3, m.F, 1, m.F, true);
        }
        in.linear(layer.mix, 2, m.F, 1, m.F, false);
        in.linear(layer.a1, 1, m.F, 2, m.F, true);
        in.linear(layer.a2, layer.writes_vectors ? 3 : 2, m.F, 1, m.F, true);
    }
    for (Readout *readout : {&m.energy, &m.charge}) {
        if (!readout->width) continue;
        in.linear(readout->hidden, 1, readout->width, 1, m.F, true);
        in.padded(readout->weight, 1, 1, readout->width);
        if (const real *bias = in.numbers(1)) readout->bias = *bias;
    }
    return !in.failed && in.next == in.end;
}

static bool read_constants(Model &m, const double *from, int64_t n_constants) {
    const int64_t pairs = int64_t(m.n_species) * m.n_species;
    if (n_constants != 3 * pairs + 3 * m.n_species + 120) return false;
    real **const tables[] = {&m.inverse_screening, &m.inverse_range, &m.prefactor};
    for (real **to : tables) {
        *to = m.memory.take(pairs);
        if (!*to) return false;
        for (int64_t k = 0; k < pairs; k++) (*to)[k] = real(*from++);
    }
    m.reference = static_cast<double *>(malloc(sizeof(double) * size_t(m.n_species)));
    m.species_of_number = static_cast<int *>(malloc(sizeof(int) * 119));
    if (!m.reference || !m.species_of_number) return false;
    for (int k = 0; k < m.n_species; k++) m.reference[k] = *from++;
    for (int k = 0; k < 119; k++) m.species_of_number[k] = int(*from++);
    for (real **to : {&m.floor, &m.ceiling}) {
        *to = m.memory.take(m.n_species);
        if (!*to) return false;
        for (int k = 0; k < m.n_species; k++) (*to)[k] = real(*from++);
    }
    m.saturation_width = real(*from);
    for (int64_t k = 0; k < pairs; k++)
        if (real(1) / m.inverse_range[k] > m.longest_zbl) m.longest_zbl = real(1) / m.inverse_range[k];
    return true;
}

static void *create_model(const mlff_painn *d) {
    Model *m = new (std::nothrow) Model;
    if (!m) return nullptr;
    m->F = d->hidden;
    m->Fp = round_up(d->hidden, W);
    m->C = m->Fp / W;
    m->n_layers = d->n_layers;
    m->n_species = d->n_species;
    m->energy.width = d->n_readout;
    m->energy.chunks = round_up(d->n_readout, W) / W;
    m->charge.width = d->n_charge;
    m->charge.chunks = round_up(d->n_charge, W) / W;
    m->n_intervals = d->n_intervals;
    m->n_tables = d->shared_filters ? 1 : m->n_layers;
    m->n_parameters = d->n_parameters;
    m->cutoff = real(d->cutoff);
    m->smoothing = real(d->smoothing);
    m->scale = real(d->scale);
    m->overlap = real(d->overlap);
    m->core = real(d->core);
    m->tables = new (std::nothrow) Table[size_t(m->n_tables)];
    m->layers = new (std::nothrow) Layer[size_t(m->n_layers)];
    bool is_good = m->tables && m->layers;
    for (int k = 0; k < m->n_tables && is_good; k++)
        m->tables[k].filters = (d->shared_filters ? m->n_layers > 1 : k > 0) ? 3 : 2;
    for (int k = 0; k < m->n_layers && is_good; k++) {
        m->layers[k].table = d->shared_filters ? 0 : k;
        m->layers[k].writes_vectors = k + 1 < m->n_layers;
    }
    is_good = is_good && read_parameters(*m, d->parameters, d->n_parameters);
    if (is_good && read_constants(*m, d->constants, d->n_constants)) return m;
    delete m;
    return nullptr;
}

static int32_t refresh_model(void *model, const void *parameters, int64_t n_parameters) {
    Model &m = *static_cast<Model *>(model);
    if (n_parameters != m.n_parameters) return MLFF_BAD_REQUEST;
    return read_parameters(m, parameters, n_parameters) ? MLFF_OK : MLFF_BAD_REQUEST;
}

static int32_t bound_model(void *model, const double *lowest, const double *highest, const double *closest, double largest_force) {
    Model &m = *static_cast<Model *>(model);
    const size_t bytes = sizeof(double) * size_t(m.n_species);
    const int64_t pairs = int64_t(m.n_species) * m.n_species;
    if (!m.lowest) m.lowest = static_cast<double *>(malloc(bytes));
    if (!m.highest) m.highest = static_cast<double *>(malloc(bytes));
    if (!m.closest) m.closest = m.memory.take(pairs);
    if (!m.lowest || !m.highest || !m.closest) return MLFF_NO_MEMORY;
    memcpy(m.lowest, lowest, bytes);
    memcpy(m.highest, highest, bytes);
    m.longest_closest = 0;
    for (int64_t k = 0; k < pairs; k++) {
        m.closest[k] = real(closest[k]);
        if (m.closest[k] > m.longest_closest) m.longest_closest = m.closest[k];
    }
    m.largest_force = largest_force;
    return MLFF_OK;
}

static void destroy_model(void *model) { delete static_cast<Model *>(model); }

}  // namespace MLFF_NAMESPACE
#endif
