/* The C interface of the fused PaiNN kernel. Plain structs and pointers only, so that any language can call it and it is
 * tied to no version of any library. All arrays are contiguous, in C order, and belong to the caller. Units: Å and eV. */
#ifndef MLFF_API_H
#define MLFF_API_H

#include <stdint.h>

#ifdef _WIN32
#define MLFF_EXPORT __declspec(dllexport)
#else
#define MLFF_EXPORT __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Raised by one whenever a struct or the order of the parameters changes. */
#define MLFF_ABI 5

/* The shape of a network, and its numbers. The trainable ones are `real` (double or float as is_double says), one after
 * the other, row by row, in this order:
 *   embedding                     (n_species, hidden)
 *   first layer's phi by species  (n_species, 2 hidden)
 *   spline coefficients           (n_intervals + 3, width) for each table; width is 2 hidden for the first layer and
 *                                 3 hidden for the others, or 3 hidden (2 if there is one layer) for one shared table
 *   for each layer: phi, absent in the first: W (hidden, hidden), b, W (3 hidden, hidden), b;
 *                   update: mix (2 hidden, hidden), W (hidden, 2 hidden), b, W (3 hidden or, in the last layer,
 *                   2 hidden, hidden), b
 *   readout: W (n_readout, hidden), b, W (n_readout), b (1)
 *   charge readout: W (n_charge, hidden), b, W (n_charge), b (1)
 * and the constants, all double, in this:
 *   ZBL: inverse screening, inverse range, prefactor, (n_species, n_species) each: Å⁻¹, Å⁻¹, eV Å
 *   reference energies            (n_species), eV
 *   species of atomic number      (119), −1 where unknown
 *   bounds of the learned energy: lowest and highest of its range (n_species) each, infinite where there are none; and
 *                                 the width of the saturation outside, eV; see mlff_core/model/saturation.py
 * The charge readout is absent where n_charge is 0. */
typedef struct {
    int32_t abi;
    int32_t is_double;
    int32_t hidden;
    int32_t n_layers;
    int32_t n_species;
    int32_t n_readout;
    int32_t n_intervals;
    int32_t shared_filters;
    int32_t n_charge; /* hidden width of the readout of charges, or 0 */
    double cutoff;
    double smoothing;
    double scale;
    double overlap; /* shortest allowed distance, Å */
    double core;    /* where filters stop changing, in units of a pair's ZBL range, or 0 */
    int64_t n_parameters;
    const void *parameters;
    int64_t n_constants;
    const double *constants;
} mlff_painn;

/* One batch. `real` is double or float as the model was made. Edges may reach beyond the cutoff; every pair must occur
 * in both directions. */
typedef struct {
    int64_t n_atoms;
    int64_t n_systems;
    int64_t n_edges;
    const void *positions;         /* real (n_atoms, 3) */
    const void *cell;              /* real (n_systems, 3, 3), rows are lattice vectors */
    const int64_t *atomic_numbers; /* (n_atoms) */
    const int64_t *system_idx;     /* (n_atoms) */
    const int64_t *centers;        /* (n_edges) */
    const int64_t *neighbors;      /* (n_edges) */
    const void *cell_shifts;       /* real (n_edges, 3) */
    int64_t n_threads;             /* at most this many */
    double *energy;                /* out (n_systems), or null */
    double *atom_energies;         /* out (n_atoms), or null */
    double *charges;               /* out (n_atoms), e, or null */
    void *forces;                  /* out real (n_atoms, 3), or null: then no derivative is taken for it */
    void *virial;                  /* out real (n_systems, 3, 3), −dE/d(strain), or null */
    const double *cotangents;      /* (n_atoms), the factors of the atoms' energies, no unit, or null for ones; only with gradient */
    const double *charge_cotangents; /* (n_atoms), the factors of the atoms' charges, eV/e, or null for zeros; what is
                                        differentiated is the sum of factors times energies and factors times charges */
    void *gradient;                /* out real (n_parameters), of that sum, or null; forces and virial must then be null */
    const int64_t *n_centers;      /* (n_layers), or null for all atoms: see below */
    int64_t culprit;               /* out: the atom or edge that an error is about; with MLFF_OK, an atom that lies outside
                                      the bounds of mlff_painn_bound, left alone where there is none */
} mlff_batch;

/* A part of a system, with `n_centers`: energies and charges are those of the first n_centers[n_layers − 1] atoms only, and forces
 * and virial are the derivatives of their sum. The atoms after them are there to be seen: layer k sends messages to the
 * first n_centers[k] atoms, so these must hold every neighbour of the first n_centers[k + 1], and all atoms every
 * neighbour of the first n_centers[0]. Edges between atoms that come after the first n_centers[0] may be left out.
 * Not with a gradient in the parameters. Parts that share a system out between them sum to the whole. */

enum {
    MLFF_OK = 0,
    MLFF_OVERLAP = 1,         /* culprit: edge */
    MLFF_UNKNOWN_ELEMENT = 2, /* culprit: atom */
    MLFF_BAD_INDEX = 3,       /* culprit: atom or edge */
    MLFF_NOT_FINITE = 4,      /* culprit: atom */
    MLFF_NO_MEMORY = 5,
    MLFF_BAD_REQUEST = 6 /* outputs that do not go together, or numbers of parameters or centres that do not fit */
};

/* MLFF_ABI of the library. */
MLFF_EXPORT int32_t mlff_abi(void);
/* Names of the variants this processor can run, fastest first, separated by spaces. */
MLFF_EXPORT const char *mlff_variants(void);
/* A model, or null where the description does not fit or memory is short. `variant` null takes the fastest. */
MLFF_EXPORT void *mlff_painn_create(const mlff_painn *description, const char *variant);
/* The variant a model uses. */
MLFF_EXPORT const char *mlff_painn_variant(const void *model);
/* Fills the outputs; safe to call from several threads at once. */
MLFF_EXPORT int32_t mlff_painn_evaluate(void *model, mlff_batch *batch);
/* The memory that an evaluation with forces works in, bytes, beside what the caller holds. It is kept for the next one. */
MLFF_EXPORT int64_t mlff_painn_needed_bytes(const void *model, int64_t n_atoms, int64_t n_edges, int64_t n_threads);
/* Replaces the trainable numbers, `real` (n_parameters) as in the description; not while an evaluation is under way. */
MLFF_EXPORT int32_t mlff_painn_refresh(void *model, const void *parameters, int64_t n_parameters);
/* Sets bounds that every later evaluation is compared with: energies of an atom less its reference energy (n_species), eV;
 * the closest distance of each pair of elements (n_species, n_species), Å, as far as the cutoff; and the largest component
 * of a force, eV/Å. Numbers that are computed stay the same. Without it there are no bounds. Not while an evaluation is
 * under way. */
MLFF_EXPORT int32_t mlff_painn_bound(void *model, const double *lowest, const double *highest, const double *closest,
                                     double largest_force);
MLFF_EXPORT void mlff_painn_destroy(void *model);

#ifdef __cplusplus
}
#endif
#endif
