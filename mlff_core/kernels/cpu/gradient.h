/* Where the gradients of the trainable numbers are summed, padded as the numbers are, and how they leave. */
#ifndef MLFF_GRADIENT_H
#define MLFF_GRADIENT_H

#include "model.h"

namespace MLFF_NAMESPACE {

/* Of W (out, in), row by row, and of b. */
struct LinearGradient {
    real *weight, *bias;
    int n_out, chunks_in; /* padded */

    /* For a layer whose outputs have the gradients d (rows, n_out) where its inputs are x (rows, ldx). */
    void add(const real *d, const real *x, int64_t ldx, int rows) const {
        accumulate(d, n_out, n_out, x, ldx, chunks_in, rows, weight, int64_t(chunks_in) * W);
        if (!bias) return;
        for (int k = 0; k < n_out; k += W) {
            vec total = load(bias + k);
            for (int row = 0; row < rows; row++) total += load(d + int64_t(row) * n_out + k);
            store(bias + k, total);
        }
    }
};

struct LayerGradient {
    LinearGradient phi1, phi2, mix, a1, a2;
};

struct ReadoutGradient {
    LinearGradient hidden;
    real *weight, *bias;
};

/* One sum over a share of the atoms. */
struct Gradient {
    real *data; /* all of it, `size` numbers */
    int64_t size;
    real *embedding, *first_phi, **tables;
    LayerGradient *layers;
    ReadoutGradient energy, charge;
};

/* Takes the memory of one sum from `at`, which has `take<T>(count)`. */
template <class Layout>
static void lay_out_gradient(const Model &m, Layout &at, Gradient &g) {
    g.tables = at.template take<real *>(m.n_tables);
    g.layers = at.template take<LayerGradient>(m.n_layers);
    const int64_t start = at.used;
    g.data = at.template take<real>(0);
    const bool is_real = at.base;
    const auto linear = [&](int out_parts, int no, int in_parts, int ni, bool has_bias) {
        const int n_out = out_parts * round_up(no, W), n_in = in_parts * round_up(ni, W);
        real *weight = at.template take<real>(int64_t(n_out) * n_in);
        real *bias = at.template take<real>(has_bias ? n_out : 0);
        return LinearGradient{weight, has_bias ? bias : nullptr, n_out, n_in / W};
    };
    g.embedding = at.template take<real>(int64_t(m.n_species) * m.Fp);
    g.first_phi = at.template take<real>(int64_t(m.n_species) * m.Fp * 2);
    for (int k = 0; k < m.n_tables; k++) {
        real *table = at.template take<real>(int64_t(m.n_intervals + 3) * m.Fp * m.tables[k].filters);
        if (is_real) g.tables[k] = table;
    }
    for (int k = 0; k < m.n_layers; k++) {
        LayerGradient layer = {};
        if (k > 0) {
            layer.phi1 = linear(1, m.F, 1, m.F, true);
            layer.phi2 = linear(3, m.F, 1, m.F, true);
        }
        layer.mix = linear(2, m.F, 1, m.F, false);
        layer.a1 = linear(1, m.F, 2, m.F, true);
        layer.a2 = linear(m.layers[k].writes_vectors ? 3 : 2, m.F, 1, m.F, true);
        if (is_real) g.layers[k] = layer;
    }
    const auto readout = [&](const Readout &of) {
        const LinearGradient hidden = linear(1, of.width, 1, m.F, true);
        real *weight = at.template take<real>(of.chunks * W);
        return ReadoutGradient{hidden, weight, at.template take<real>(1)};
    };
    g.energy = readout(m.energy);
    if (m.charge.width) g.charge = readout(m.charge);
    g.size = (at.used - start) / int64_t(sizeof(real));
}

/* Writes gradients without padding, in the order in which `Reader` reads the numbers. */
struct Writer {
    real *next;
    const Model &model;

    void padded(const real *from, int rows, int parts, int n) {
        const int np = round_up(n, W);
        for (int64_t row = 0; row < int64_t(rows) * parts; row++, next += n) memcpy(next, from + row * np, sizeof(real) * size_t(n));
    }

    void interleaved(const real *from, int rows, int parts) {
        const int F = model.F, C = model.C;
        for (int64_t row = 0; row < rows; row++)
            for (int part = 0; part < parts; part++)
                for (int k = 0; k < F; k += W) {
                    const int count = F - k < W ? F - k : W;
                    memcpy(next, from + ((row * C + k / W) * parts + part) * W, sizeof(real) * size_t(count));
                    next += count;
                }
    }

    void linear(const LinearGradient &g, int out_parts, int no, int in_parts, int ni) {
        const int no_pad = round_up(no, W);
        for (int part = 0; part < out_parts; part++)
            padded(g.weight + int64_t(part) * no_pad * g.chunks_in * W, no, in_parts, ni);
        if (g.bias) padded(g.bias, 1, out_parts, no);
    }
};

static void write_gradient(const Model &m, const Gradient &g, real *to) {
    Writer out{to, m};
    out.padded(g.embedding, m.n_species, 1, m.F);
    out.interleaved(g.first_phi, m.n_species, 2);
    for (int k = 0; k < m.n_tables; k++) out.interleaved(g.tables[k], m.n_intervals + 3, m.tables[k].filters);
    for (int k = 0; k < m.n_layers; k++) {
        const LayerGradient &layer = g.layers[k];
        if (k > 0) {
            out.linear(layer.phi1, 1, m.F, 1, m.F);
            out.linear(layer.phi2, 3, m.F, 1, m.F);
        }
        out.linear(layer.mix, 2, m.F, 1, m.F);
        out.linear(layer.a1, 1, m.F, 2, m.F);
        out.linear(layer.a2, m.layers[k].writes_vectors ? 3 : 2, m.F, 1, m.F);
    }
    const auto readout = [&](const Readout &of, const ReadoutGradient &from) {
        out.linear(from.hidden, 1, of.width, 1, m.F);
        out.padded(from.weight, 1, 1, of.width);
        *out.next++ = *from.bias;
    };
    readout(m.energy, g.energy);
    if (m.charge.width) readout(m.charge, g.charge);
}

}  // namespace MLFF_NAMESPACE
#endif
