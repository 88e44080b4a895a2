/* What one compilation of the kernel (one instruction set, one precision) offers to the dispatcher. */
#ifndef MLFF_VARIANT_H
#define MLFF_VARIANT_H

#include "api.h"

namespace mlff {

/* Runs `task(context, item, thread)` for every item below n_items; returns when all are done. */
struct Parallel {
    void *pool;
    int n_threads;
    int n_shares; /* threads there would be if no other call had them: sums are split by it, and so always alike */
    void (*run)(void *pool, int n_threads, int64_t n_items, void (*task)(void *, int64_t, int), void *context);
    void operator()(int64_t n_items, void (*task)(void *, int64_t, int), void *context) const {
        run(pool, n_threads, n_items, task, context);
    }
};

/* Grown as needed and kept from call to call; one for each call that is under way. */
struct Arena {
    char *data;
    int64_t size;
};

struct Variant {
    const char *name;
    int lanes;
    void *(*create)(const mlff_painn *);
    int32_t (*refresh)(void *model, const void *parameters, int64_t n_parameters);
    int32_t (*bound)(void *model, const double *lowest, const double *highest, const double *closest, double largest_force);
    void (*destroy)(void *);
    int64_t (*needed_bytes)(const void *model, mlff_batch *, const Parallel &);
    int32_t (*evaluate)(const void *model, mlff_batch *, const Parallel &, Arena &);
};

}  // namespace mlff
#endif
