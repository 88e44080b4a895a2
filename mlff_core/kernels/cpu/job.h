/* One evaluation: its input, and every array it works in. */
#ifndef MLFF_JOB_H
#define MLFF_JOB_H

#include "gradient.h"

namespace MLFF_NAMESPACE {

/* Atoms whose node blocks are computed together: weights are read once for all of them. */
constexpr int TILE = 48;
static_assert(TILE % MR == 0, "tiles hold whole row blocks");

/* Centres whose edges are taken together, in the order of their distances: so that the spline's rows that one edge reads
 * are still in the first-level cache for the next, and so are the sums of so few centres. */
constexpr int GROUP = 8;

/* An edge as the message loops read it: spline weights, their slopes, and the direction; a cache line in float. */
struct Edge {
    real b[4], db[4];
    real u[3];
    real r, inverse_r;
    integer neighbor, row;
    integer center; /* within the group */
};

/* What changes with an edge: dE/dr, and dE/du with r held, of the reversed edge; summed over the layers. */
struct EdgeGradient {
    real dr, du[3];
};

struct Job {
    const Model *m;
    mlff_batch *in;
    int n_atoms, n_tiles, tile; /* tile: atoms in one, at most TILE */
    bool backward, trains; /* trains: back to the trainable numbers instead of the positions */
    int status;                 /* the first error found */
    int64_t outside;            /* an atom outside the bounds, or −1 */
    int64_t *first;             /* (n_atoms + 1) edges of a centre, as they came */
    int64_t *order;             /* null, or where an edge of the sorted list is in the given one */
    int *count;                 /* (n_tiles, groups in a tile) edges of a group within the cutoff */
    int *species;               /* (n_atoms) */
    Edge *edges;                /* within the cutoff, from first[i] on for the group that starts with atom i */
    EdgeGradient *slopes;       /* as `edges`, unless this trains */
    double *atom_energies;      /* (n_atoms) */
    double *force, *virial;     /* unless this trains: (n_shares, n_atoms, 3) and (n_shares, n_systems, 3, 3) */
    real **s;                   /* what each layer's messages are added to, (padded atoms, Fp); one array for all unless this trains */
    real **xv;                  /* each layer but the first: (padded atoms, C, 6, W): φ(s) and v that neighbours read */
    real **uw;                  /* each layer but the last: (padded atoms, 3, 2 Fp) */
    real **gates;               /* each layer but the last: (padded atoms, 2 Fp): a_sv and a_vv */
    real **slope_a, **slope_p;  /* derivative of each SiLU, (padded atoms, Fp) */
    real **norms, **v;          /* inputs of each update if this trains, (padded atoms, 2 Fp) and (padded atoms, 3, Fp) */
    real **h_a, **h_p;          /* what the SiLUs gave if this trains, (padded atoms, Fp) */
    int n_shares;               /* of the tiles, each of which is summed alone */
    Gradient *gradients;        /* one for each share */
    real *g[2];                 /* (padded atoms, C, 4, W): dE/ds and dE/dv after a layer's messages */
    real *scratch;              /* one for each thread */
    int64_t scratch_size;

    /* Atoms that layer k sends messages to, and the tiles that hold them. */
    int n_centers(int k) const { return in->n_centers ? int(in->n_centers[k]) : n_atoms; }
    int tiles_of(int k) const { return (n_centers(k) + tile - 1) / tile; }
    /* Atoms whose energies are wanted. */
    int n_owned() const { return n_centers(m->n_layers - 1); }

    int atoms_in(int t) const { return n_atoms - t * tile < tile ? n_atoms - t * tile : tile; }
    int share_start(int64_t share) const { return int(n_tiles * share / n_shares); }
    int groups() const { return (tile + GROUP - 1) / GROUP; }

    /* Atoms and edges of group g of tile t. */
    struct Group {
        int start, size;
        Edge *edges;
        EdgeGradient *slopes;
        int *count;
    };
    Group group(int t, int g) const {
        const int start = t * tile + g * GROUP, left = atoms_in(t) - g * GROUP;
        return {start, left < GROUP ? left : GROUP, edges + first[start], slopes + first[start], count + t * groups() + g};
    }

    void fail(int code, int64_t culprit) {
        int expected = 0;
        if (__atomic_compare_exchange_n(&status, &expected, code, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            in->culprit = culprit;
    }
    void note(int64_t atom) { __atomic_store_n(&outside, atom, __ATOMIC_RELAXED); }
};

/* A thread's own arrays, for one tile. */
struct Scratch {
    real *s;     /* (TILE, 2 Fp): s, and the norms beside it */
    real *v;     /* (TILE, 3, Fp) */
    real *dot;   /* (TILE, Fp) */
    real *h;     /* (TILE, Fp) */
    real *a;     /* (TILE, 3 Fp) */
    real *gates; /* (TILE, 2 Fp), the last layer's */
    real *uw;    /* (TILE, 3, 2 Fp), the last layer's */
    real *slope; /* (TILE, Fp), the last layer's */
    real *gs;    /* (TILE, Fp) */
    real *gv;    /* (TILE, 3, Fp) */
    real *guw;   /* (TILE, 3, 2 Fp) */

    static int64_t width(const Model &m) {
        const int readouts = (m.energy.chunks > m.charge.chunks ? m.energy.chunks : m.charge.chunks) * W;
        return m.Fp > readouts ? m.Fp : readouts;
    }
    static int64_t size(const Model &m) { return TILE * width(m) * (2 + 3 + 1 + 1 + 3 + 2 + 6 + 1 + 1 + 3 + 6); }
    Scratch(const Model &m, real *p) {
        const int64_t n = TILE * width(m);
        real **fields[] = {&s, &v, &dot, &h, &a, &gates, &uw, &slope, &gs, &gv, &guw};
        const int widths[] = {2, 3, 1, 1, 3, 2, 6, 1, 1, 3, 6};
        for (int k = 0; k < 11; p += n * widths[k], k++) *fields[k] = p;
    }
};

}  // namespace MLFF_NAMESPACE
#endif
