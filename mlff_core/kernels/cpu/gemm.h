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

template <int N, class Finish>
static MLFF_INLINE void product(const real *a, int64_t lda, int depth, const real *b, int row, int chunk, Finish &finish) {
    vec sum[MR][N] = {};
    for (int k = 0; k < depth; k++, b += N * W) {
        vec w[N];
#pragma GCC unroll 4
        for (int n = 0; n < N; n++) w[n] = load(b + n * W);
#pragma GCC unroll 8
        for (int m = 0; m < MR; m++) {
            const vec x = splat(a[m * lda + k]);
#pragma GCC unroll 4
            for (int n = 0; n < N; n++) sum[m][n] += x * w[n];
        }
    }
#pragma GCC unroll 8
    for (int m = 0; m < MR; m++)
#pragma GCC unroll 4
        for (int n = 0; n < N; n++) finish(row + m, chunk + n, sum[m][n]);
}

/* finish(row, chunk, value) for every vector of a (rows, depth) · b; rows is a multiple of MR. */
template <class Finish>
static inline void multiply(const real *a, int64_t lda, int rows, const Matrix &b, Finish finish) {
    const real *panel = b.data;
    for (int group = 0, chunk = 0; group < b.groups; group++) {
        const int width = b.width(group);
        for (int row = 0; row < rows; row += MR) {
            const real *top = a + row * lda;
            if (width == 1) product<1>(top, lda, b.depth, panel, row, chunk, finish);
            if (width == 2) product<2>(top, lda, b.depth, panel, row, chunk, finish);
            if constexpr (NR > 2) {
                if (width == 3) product<3>(top, lda, b.depth, panel, row, chunk, finish);
                if (width == 4) product<4>(top, lda, b.depth, panel, row, chunk, finish);
            }
        }
        chunk += width;
        panel += int64_t(b.depth) * width * W;
    }
}

}  // namespace MLFF_NAMESPACE
#endif
