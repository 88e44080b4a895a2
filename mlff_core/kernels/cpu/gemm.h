/* Products of a few rows with a packed matrix, held in registers; what is done with a result is the caller's. */
#ifndef MLFF_GEMM_H
#define MLFF_GEMM_H

#include "simd.h"

namespace MLFF_NAMESPACE {

/* Rows × vectors of one product in registers: 24 + 4 + 1 of 32 registers, or 12 + 2 + 1 of 16. */
constexpr int MR = 6;
constexpr int NR = MLFF_REGISTERS >= 32 ? 4 : 2;

/* A (depth, W · chunks) matrix in groups of up to NR vectors: group after group, each row by row. */
struct Matrix {
    int depth = 0, chunks = 0, groups = 0;
    real *data = nullptr;
    int width(int group) const { return chunks / groups + (group < chunks % groups); }
};

template <int M, int N, class Finish>
static MLFF_INLINE void product(const real *a, int64_t lda, int depth, const real *b, int row, int chunk, Finish &finish) {
    vec sum[M][N] = {};
    for (int k = 0; k < depth; k++, b += N * W) {
        vec w[N];
#pragma GCC unroll 4
        for (int n = 0; n < N; n++) w[n] = load(b + n * W);
#pragma GCC unroll 8
        for (int m = 0; m < M; m++) {
            const vec x = splat(a[m * lda + k]);
#pragma GCC unroll 4
            for (int n = 0; n < N; n++) sum[m][n] += x * w[n];
        }
    }
#pragma GCC unroll 8
    for (int m = 0; m < M; m++)
#pragma GCC unroll 4
        for (int n = 0; n < N; n++) finish(row + m, chunk + n, sum[m][n]);
}

/* All rows of one group of N vectors: MR at a time, then two, then the last. */
template <int N, class Finish>
static MLFF_INLINE void columns(const real *a, int64_t lda, int rows, int depth, const real *panel, int chunk, Finish &finish) {
    int row = 0;
    for (; row + MR <= rows; row += MR) product<MR, N>(a + row * lda, lda, depth, panel, row, chunk, finish);
    for (; row + 2 <= rows; row += 2) product<2, N>(a + row * lda, lda, depth, panel, row, chunk, finish);
    if (row < rows) product<1, N>(a + row * lda, lda, depth, panel, row, chunk, finish);
}

/* finish(row, chunk, value) for every vector of a (rows, depth) · b. */
template <class Finish>
static inline void multiply(const real *a, int64_t lda, int rows, const Matrix &b, Finish finish) {
    const real *panel = b.data;
    for (int group = 0, chunk = 0; group < b.groups; group++) {
        const int width = b.width(group);
        if (width == 1) columns<1>(a, lda, rows, b.depth, panel, chunk, finish);
        if (width == 2) columns<2>(a, lda, rows, b.depth, panel, chunk, finish);
        if constexpr (NR > 2) {
            if (width == 3) columns<3>(a, lda, rows, b.depth, panel, chunk, finish);
            if (width == 4) columns<4>(a, lda, rows, b.depth, panel, chunk, finish);
        }
        chunk += width;
        panel += int64_t(b.depth) * width * W;
    }
}

/* Rows × vectors of a product over atoms in registers. */
constexpr int MO = MLFF_REGISTERS >= 32 ? 8 : 6;
constexpr int NO = MLFF_REGISTERS >= 32 ? 3 : 2;

template <int M, int N>
static MLFF_INLINE void outer(const real *d, int64_t ldd, const real *x, int64_t ldx, int rows, real *g, int64_t ldg) {
    vec sum[M][N] = {};
    for (int row = 0; row < rows; row++, d += ldd, x += ldx) {
        vec wide[N];
#pragma GCC unroll 4
        for (int n = 0; n < N; n++) wide[n] = load(x + n * W);
#pragma GCC unroll 8
        for (int m = 0; m < M; m++) {
            const vec deep = splat(d[m]);
#pragma GCC unroll 4
            for (int n = 0; n < N; n++) sum[m][n] += deep * wide[n];
        }
    }
#pragma GCC unroll 8
    for (int m = 0; m < M; m++)
#pragma GCC unroll 4
        for (int n = 0; n < N; n++) store(g + m * ldg + n * W, load(g + m * ldg + n * W) + sum[m][n]);
}

template <int N>
static inline void outer_columns(const real *d, int64_t ldd, int n_out, const real *x, int64_t ldx, int rows, real *g, int64_t ldg) {
    int m = 0;
    for (; m + MO <= n_out; m += MO) outer<MO, N>(d + m, ldd, x, ldx, rows, g + m * ldg, ldg);
    for (; m + 2 <= n_out; m += 2) outer<2, N>(d + m, ldd, x, ldx, rows, g + m * ldg, ldg);
}

/* g (n_out, ldg) += dᵀ x for d (rows, ldd) and x (rows, W · chunks), both row by row; n_out is even. */
static inline void accumulate(const real *d, int64_t ldd, int n_out, const real *x, int64_t ldx, int chunks, int rows, real *g,
                              int64_t ldg) {
    const int groups = (chunks + NO - 1) / NO;
    for (int group = 0; group < groups; group++) {
        const int width = chunks / groups + (group < chunks % groups);
        if (width == 1) outer_columns<1>(d, ldd, n_out, x, ldx, rows, g, ldg);
        if (width == 2) outer_columns<2>(d, ldd, n_out, x, ldx, rows, g, ldg);
        if constexpr (NO > 2)
            if (width == 3) outer_columns<3>(d, ldd, n_out, x, ldx, rows, g, ldg);
        x += width * W;
        g += width * W;
    }
}

}  // namespace MLFF_NAMESPACE
#endif
