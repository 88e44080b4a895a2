/* Vectors of the compilation's width, by the vector extensions that GCC and Clang share. `real` is float or double. */
#ifndef MLFF_SIMD_H
#define MLFF_SIMD_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <new>
#include <type_traits>

#define MLFF_INLINE inline __attribute__((always_inline))
#define MLFF_LAMBDA_INLINE __attribute__((always_inline))

namespace MLFF_NAMESPACE {

using real = MLFF_REAL;
constexpr bool is_double = sizeof(real) == 8;
constexpr int W = MLFF_VECTOR_BYTES / int(sizeof(real));

using integer = std::conditional<is_double, int64_t, int32_t>::type;
typedef real vec __attribute__((vector_size(MLFF_VECTOR_BYTES), may_alias));
typedef integer ivec __attribute__((vector_size(MLFF_VECTOR_BYTES), may_alias));
typedef real quad __attribute__((vector_size(4 * sizeof(real)), may_alias));

static MLFF_INLINE vec load(const real *p) { return *reinterpret_cast<const vec *>(p); }
static MLFF_INLINE void store(real *p, vec x) { *reinterpret_cast<vec *>(p) = x; }
/* x − 0 is x for every x, which x + 0 is not: so no instruction but the broadcast is left. */
static MLFF_INLINE vec splat(real x) { return x - vec{}; }

/* Sum of neighbouring quarters until four lanes are left. */
static MLFF_INLINE quad fold(vec x) {
    quad parts[W / 4];
    memcpy(parts, &x, sizeof x);
    if constexpr (W == 16) return (parts[0] + parts[1]) + (parts[2] + parts[3]);
    if constexpr (W == 8) return parts[0] + parts[1];
    return parts[0];
}

/* The sums over the lanes of four vectors. */
static MLFF_INLINE quad sums4(vec a, vec b, vec c, vec d) {
#if MLFF_VECTOR_BYTES == 16 && MLFF_IS_DOUBLE
    return quad{a[0] + a[1], b[0] + b[1], c[0] + c[1], d[0] + d[1]};
#else
    const quad p = fold(a), q = fold(b), r = fold(c), s = fold(d);
#if defined(__clang__) || __GNUC__ >= 12
    const quad pq = __builtin_shufflevector(p, q, 0, 4, 1, 5) + __builtin_shufflevector(p, q, 2, 6, 3, 7);
    const quad rs = __builtin_shufflevector(r, s, 0, 4, 1, 5) + __builtin_shufflevector(r, s, 2, 6, 3, 7);
    return __builtin_shufflevector(pq, rs, 0, 1, 4, 5) + __builtin_shufflevector(pq, rs, 2, 3, 6, 7);
#else
    return quad{(p[0] + p[2]) + (p[1] + p[3]), (q[0] + q[2]) + (q[1] + q[3]), (r[0] + r[2]) + (r[1] + r[3]),
                (s[0] + s[2]) + (s[1] + s[3])};
#endif
#endif
}

static MLFF_INLINE real sum(vec a) {
    real total = 0;
    for (int k = 0; k < W; k++) total += a[k];
    return total;
}

static MLFF_INLINE vec square_root(vec x) {
    vec y;
    for (int k = 0; k < W; k++) y[k] = is_double ? real(__builtin_sqrt(double(x[k]))) : real(__builtin_sqrtf(float(x[k])));
    return y;
}

/* e^x by 2^n · e^r with |r| ≤ ln 2 / 2 and the Taylor series of e^r to below rounding; x is held where e^x is normal. */
static MLFF_INLINE vec exponential(vec x) {
    const real limit = is_double ? real(700) : real(87);
    x = x > limit ? splat(limit) : x;
    x = x < -limit ? splat(-limit) : x;
    /* Adding 1.5 · 2^mantissa rounds to a whole number, which is then in the lowest bits. */
    const real magic = is_double ? real(6755399441055744.0) : real(12582912.0);
    const vec shifted = x * real(1.4426950408889634074) + magic;
    const vec n = shifted - magic;
    const real high = is_double ? real(6.93147180369123816490e-01) : real(0.693359375);
    const real low = is_double ? real(1.90821492927058770002e-10) : real(-2.12194440e-4);
    const vec r = (x - n * high) - n * low;
    constexpr int degree = is_double ? 13 : 7;
    real inverse[degree + 1];
    inverse[0] = 1;
    for (int k = 1; k <= degree; k++) inverse[k] = inverse[k - 1] / real(k);
    vec y = splat(inverse[degree]);
    for (int k = degree - 1; k >= 0; k--) y = y * r + inverse[k];
    ivec power = reinterpret_cast<ivec>(shifted);
    power = power << (is_double ? 52 : 23);
    return reinterpret_cast<vec>(reinterpret_cast<ivec>(y) + power);
}

/* x σ(x), and its derivative. */
static MLFF_INLINE vec silu(vec x, vec &slope) {
    const vec sigma = real(1) / (real(1) + exponential(-x));
    const vec y = x * sigma;
    slope = sigma + y * (real(1) - sigma);
    return y;
}

}  // namespace MLFF_NAMESPACE
#endif
