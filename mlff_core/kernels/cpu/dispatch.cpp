/* The C interface: chooses the variant the processor can run, and gives each call threads and memory. */
#include <mutex>
#include <new>
#include <stdlib.h>
#include <string.h>
#include <string>
#include <vector>

#include "pool.h"
#include "variant.h"

#define MLFF_DECLARE(name)                          \
    extern const mlff::Variant mlff_variant_##name##_f32; \
    extern const mlff::Variant mlff_variant_##name##_f64;
#ifdef MLFF_X86
MLFF_DECLARE(avx512)
MLFF_DECLARE(avx512vl)
MLFF_DECLARE(avx2)
#endif
MLFF_DECLARE(generic)

namespace {

struct Choice {
    const mlff::Variant *single, *twice;
};

/* Fastest first. */
std::vector<Choice> available() {
    std::vector<Choice> found;
#ifdef MLFF_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        found.push_back({&mlff_variant_avx512_f32, &mlff_variant_avx512_f64});
        /* Half the width, but twice the registers of AVX2. */
        found.push_back({&mlff_variant_avx512vl_f32, &mlff_variant_avx512vl_f64});
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        found.push_back({&mlff_variant_avx2_f32, &mlff_variant_avx2_f64});
#endif
    found.push_back({&mlff_variant_generic_f32, &mlff_variant_generic_f64});
    return found;
}

int padding(const mlff::Variant &variant, int hidden) { return (variant.lanes - hidden % variant.lanes) % variant.lanes; }

struct Handle {
    const mlff::Variant *variant;
    void *model;
    mlff::Pool pool;
    std::mutex mutex;
    std::vector<mlff::Arena> idle;
    int64_t flops_per_atom, flops_per_edge;
};

/* Work, in multiplications, that a second thread must find to be worth waking: a good millisecond. */
constexpr int64_t WORTH_A_THREAD = 45'000'000;

int threads_for(const Handle &handle, const mlff_batch &batch) {
    const int64_t work = handle.flops_per_atom * batch.n_atoms + handle.flops_per_edge * batch.n_edges;
    const int64_t n_threads = 1 + work / WORTH_A_THREAD;
    return int(n_threads < batch.n_threads ? n_threads : batch.n_threads);
}

}  // namespace

extern "C" {

int32_t mlff_abi(void) { return MLFF_ABI; }

const char *mlff_variants(void) {
    static const std::string names = [] {
        std::string joined;
        for (const Choice &choice : available()) joined += (joined.empty() ? "" : " ") + std::string(choice.single->name);
        return joined;
    }();
    return names.c_str();
}

void *mlff_painn_create(const mlff_painn *d, const char *wanted) {
    if (d->abi != MLFF_ABI || d->hidden < 1 || d->n_layers < 1 || d->n_species < 1 || d->n_readout < 1 || d->n_intervals < 1 ||
        d->n_charge < 0)
        return nullptr;
    const mlff::Variant *best = nullptr;
    for (const Choice &choice : available()) {
        const mlff::Variant *variant = d->is_double ? choice.twice : choice.single;
        if (wanted && strcmp(wanted, variant->name) != 0) continue;
        /* A narrower vector is better than one of which a good part is padding. */
        if (!best || (4 * padding(*best, d->hidden) > d->hidden && padding(*variant, d->hidden) < padding(*best, d->hidden)))
            best = variant;
    }
    if (!best) return nullptr;
    void *model = best->create(d);
    if (!model) return nullptr;
    Handle *handle = new (std::nothrow) Handle;
    if (!handle) {
        best->destroy(model);
        return nullptr;
    }
    handle->variant = best;
    handle->model = model;
    const int64_t f = d->hidden;
    handle->flops_per_atom = 30 * f * f * d->n_layers;
    handle->flops_per_edge = 66 * f * d->n_layers;
    return handle;
}

const char *mlff_painn_variant(const void *model) { return static_cast<const Handle *>(model)->variant->name; }

int32_t mlff_painn_evaluate(void *model, mlff_batch *batch) {
    Handle &handle = *static_cast<Handle *>(model);
    if (batch->n_atoms > INT32_MAX / 2) return MLFF_NO_MEMORY;
    if (batch->gradient && (batch->forces || batch->virial || batch->n_centers)) return MLFF_BAD_REQUEST;
    if (batch->cotangents && !batch->gradient) return MLFF_BAD_REQUEST; /* the repulsion's forces have no factors */
    const int n_threads = threads_for(handle, *batch);
    mlff::Arena arena = {nullptr, 0};
    try {
        /* Several calls may be under way; one of them has the pool, the others work alone. */
        mlff::Lease lease(handle.pool, n_threads);
        {
            std::lock_guard<std::mutex> guard(handle.mutex);
            if (!handle.idle.empty()) {
                arena = handle.idle.back();
                handle.idle.pop_back();
            }
        }
        const mlff::Parallel parallel = {&handle.pool, lease.n_threads, n_threads, mlff::Pool::run};
        const int32_t status = handle.variant->evaluate(handle.model, batch, parallel, arena);
        std::lock_guard<std::mutex> guard(handle.mutex);
        handle.idle.push_back(arena);
        return status;
    } catch (...) {
        free(arena.data);
        return MLFF_NO_MEMORY;
    }
}

int64_t mlff_painn_needed_bytes(const void *model, int64_t n_atoms, int64_t n_edges, int64_t n_threads) {
    const Handle &handle = *static_cast<const Handle *>(model);
    mlff_batch batch = {};
    batch.n_atoms = n_atoms;
    batch.n_systems = 1;
    batch.n_edges = n_edges;
    batch.n_threads = n_threads;
    batch.forces = &batch; /* that it is wanted; nothing is written */
    const int threads = threads_for(handle, batch);
    return handle.variant->needed_bytes(handle.model, &batch, {nullptr, threads, threads, nullptr});
}

int32_t mlff_painn_refresh(void *model, const void *parameters, int64_t n_parameters) {
    Handle &handle = *static_cast<Handle *>(model);
    return handle.variant->refresh(handle.model, parameters, n_parameters);
}

int32_t mlff_painn_bound(void *model, const double *lowest, const double *highest, const double *closest, double largest_force) {
    Handle &handle = *static_cast<Handle *>(model);
    return handle.variant->bound(handle.model, lowest, highest, closest, largest_force);
}

void mlff_painn_destroy(void *model) {
    Handle *handle = static_cast<Handle *>(model);
    if (!handle) return;
    handle->variant->destroy(handle->model);
    for (const mlff::Arena &arena : handle->idle) free(arena.data);
    delete handle;
}

}  // extern "C"
