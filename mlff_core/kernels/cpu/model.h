/* The network's numbers, padded to whole vectors and packed in the order in which they are read. */
#ifndef MLFF_MODEL_H
#define MLFF_MODEL_H

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
    const Table *table = nullptr;
    Linear phi1, phi2, mix, a1, a2;
    bool writes_vectors = false;
};

struct Model {
    Store memory;
    int F = 0, Fp = 0, C = 0, n_layers = 0, n_species = 0, n_readout = 0, readout_chunks = 0, n_intervals = 0;
    real cutoff = 0, smoothing = 0, scale = 0, overlap = 0, longest_zbl = 0, readout_bias = 0;
    real *embedding = nullptr; /* (n_species, Fp) */
    real *first_phi = nullptr; /* (n_species, C, 2, W) */
    Table *tables = nullptr;
    Layer *layers = nullptr;
    Linear readout;
    real *readout_weight = nullptr;
    real *inverse_screening = nullptr, *inverse_range = nullptr, *prefactor = nullptr;
    double *reference = nullptr;
    int *species_of_number = nullptr;
    ~Model() {
        delete[] tables;
        delete[] layers;
        free(reference);
        free(species_of_number);
    }
};

static inline int round_up(int n, int step) { return (n + step - 1) / step * step; }

/* Reads the description's numbers one after the other. */
struct Reader {
    const double *next, *end;
    Model &model;
    bool failed = false;

    const double *numbers(int64_t count) {
        if (end - next < count) {
            failed = true;
            return nullptr;
        }
        next += count;
        return next - count;
    }

    real *plain(int64_t count) {
        const double *from = numbers(count);
        real *to = model.memory.take(count);
        failed |= !to;
        if (failed) return nullptr;
        for (int64_t k = 0; k < count; k++) to[k] = real(from[k]);
        return to;
    }

    /* Rows of `parts` segments, each padded from n to whole vectors. */
    real *padded(int rows, int parts, int n) {
        const int np = round_up(n, W);
        const double *from = numbers(int64_t(rows) * parts * n);
        real *to = model.memory.take(int64_t(rows) * parts * np);
        failed |= !to;
        if (failed) return nullptr;
        for (int64_t row = 0; row < int64_t(rows) * parts; row++)
            for (int k = 0; k < n; k++) to[row * np + k] = real(from[row * n + k]);
        return to;
    }

    /* Rows of `parts` segments of F, stored (rows, chunks, parts, W): what one step of a loop reads lies together. */
    real *interleaved(int rows, int parts) {
        const int F = model.F, C = model.C;
        const double *from = numbers(int64_t(rows) * parts * F);
        real *to = model.memory.take(int64_t(rows) * parts * model.Fp);
        failed |= !to;
        if (failed) return nullptr;
        for (int64_t row = 0; row < rows; row++)
            for (int part = 0; part < parts; part++)
                for (int k = 0; k < F; k++)
                    to[((row * C + k / W) * parts + part) * W + k % W] = real(from[(row * parts + part) * F + k]);
        return to;
    }

    /* W (out, in) of segments with no and ni entries, as the matrix of x Wᵀ or, for going back, of x W. */
    Matrix packed(const double *w, int out_parts, int no, int in_parts, int ni, bool back) {
        const int n_in = in_parts * ni;
        const int depth_parts = back ? out_parts : in_parts, nd = back ? no : ni, depth_pad = round_up(nd, W);
        const int width_parts = back ? in_parts : out_parts, nw = back ? ni : no, width_pad = round_up(nw, W);
        Matrix m;
        m.depth = depth_parts * depth_pad;
        m.chunks = width_parts * width_pad / W;
        m.groups = (m.chunks + NR - 1) / NR;
        m.data = model.memory.take(int64_t(m.depth) * m.chunks * W);
        failed |= !m.data;
        if (failed) return m;
        real *to = m.data;
        for (int group = 0, chunk = 0; group < m.groups; chunk += m.width(group), group++)
            for (int d = 0; d < m.depth; d++)
                for (int k = chunk * W; k < (chunk + m.width(group)) * W; k++, to++) {
                    const int dk = d % depth_pad, wk = k % width_pad;
                    if (dk >= nd || wk >= nw) continue;
                    const int deep = d / depth_pad * nd + dk, wide = k / width_pad * nw + wk;
                    *to = real(back ? w[int64_t(deep) * n_in + wide] : w[int64_t(wide) * n_in + deep]);
                }
        return m;
    }

    Linear linear(int out_parts, int no, int in_parts, int ni, bool has_bias) {
        Linear layer;
        const double *w = numbers(int64_t(out_parts) * no * in_parts * ni);
        if (failed) return layer;
        layer.forward = packed(w, out_parts, no, in_parts, ni, false);
        layer.backward = packed(w, out_parts, no, in_parts, ni, true);
        if (has_bias) layer.bias = padded(1, out_parts, no);
        return layer;
    }
};

static void *create_model(const mlff_painn *d) {
    Model *m = new (std::nothrow) Model;
    if (!m) return nullptr;
    m->F = d->hidden;
    m->Fp = round_up(d->hidden, W);
    m->C = m->Fp / W;
    m->n_layers = d->n_layers;
    m->n_species = d->n_species;
    m->n_readout = d->n_readout;
    m->readout_chunks = round_up(d->n_readout, W) / W;
    m->n_intervals = d->n_intervals;
    m->cutoff = real(d->cutoff);
    m->smoothing = real(d->smoothing);
    m->scale = real(d->scale);
    m->overlap = real(d->overlap);
    Reader in{d->parameters, d->parameters + d->n_parameters, *m};

    m->embedding = in.padded(m->n_species, 1, m->F);
    m->first_phi = in.interleaved(m->n_species, 2);
    const int n_tables = d->shared_filters ? 1 : m->n_layers;
    m->tables = new (std::nothrow) Table[size_t(n_tables)];
    m->layers = new (std::nothrow) Layer[size_t(m->n_layers)];
    in.failed |= !m->tables || !m->layers;
    for (int k = 0; k < n_tables && !in.failed; k++) {
        m->tables[k].filters = (d->shared_filters ? m->n_layers > 1 : k > 0) ? 3 : 2;
        m->tables[k].data = in.interleaved(m->n_intervals + 3, m->tables[k].filters);
    }
    for (int k = 0; k < m->n_layers && !in.failed; k++) {
        Layer &layer = m->layers[k];
        layer.table = &m->tables[d->shared_filters ? 0 : k];
        layer.writes_vectors = k + 1 < m->n_layers;
        if (k > 0) {
            layer.phi1 = in.linear(1, m->F, 1, m->F, true);
            layer.phi2 = in.linear(3, m->F, 1, m->F, true);
        }
        layer.mix = in.linear(2, m->F, 1, m->F, false);
        layer.a1 = in.linear(1, m->F, 2, m->F, true);
        layer.a2 = in.linear(layer.writes_vectors ? 3 : 2, m->F, 1, m->F, true);
    }
    m->readout = in.linear(1, m->n_readout, 1, m->F, true);
    m->readout_weight = in.padded(1, 1, m->n_readout);
    if (const double *bias = in.numbers(1)) m->readout_bias = real(*bias);
    const int64_t pairs = int64_t(m->n_species) * m->n_species;
    m->inverse_screening = in.plain(pairs);
    m->inverse_range = in.plain(pairs);
    m->prefactor = in.plain(pairs);
    const double *reference = in.numbers(m->n_species), *species = in.numbers(119);
    m->reference = static_cast<double *>(malloc(sizeof(double) * size_t(m->n_species)));
    m->species_of_number = static_cast<int *>(malloc(sizeof(int) * 119));
    if (in.failed || in.next != in.end || !m->reference || !m->species_of_number) {
        delete m;
        return nullptr;
    }
    memcpy(m->reference, reference, sizeof(double) * size_t(m->n_species));
    for (int k = 0; k < 119; k++) m->species_of_number[k] = int(species[k]);
    for (int64_t k = 0; k < pairs; k++)
        if (real(1) / m->inverse_range[k] > m->longest_zbl) m->longest_zbl = real(1) / m->inverse_range[k];
    return m;
}

static void destroy_model(void *model) { delete static_cast<Model *>(model); }

}  // namespace MLFF_NAMESPACE
#endif
