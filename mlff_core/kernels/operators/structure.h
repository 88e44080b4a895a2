/* Energy and gradient of one structure after another, neighbours and trial steps included: what
 * mlff_core/model/scripted.py computes in torch's operations. */
#ifndef MLFF_STRUCTURE_H
#define MLFF_STRUCTURE_H

#include <mutex>

#include "neighbors.h"
#include "packed_model.h"
#include "trial.h"

namespace mlff_operators {

/* Words for a status of the kernel about a batch. */
inline void check_status(int32_t status, const mlff_batch &batch) {
    const int64_t culprit = batch.culprit;
    if (status == MLFF_OK) return;
    TORCH_CHECK(status != MLFF_OVERLAP, "the atoms of edge ", culprit, ", ", batch.centers[culprit], " and ", batch.neighbors[culprit],
                ", overlap; check the structure or shorten the time step");
    TORCH_CHECK(status != MLFF_UNKNOWN_ELEMENT, "the model does not know the atomic numbers of all atoms: atom ", culprit, " has ",
                batch.atomic_numbers[culprit], "; use a model made for this element");
    TORCH_CHECK(status != MLFF_NOT_FINITE, "positions must be finite, but those of atom ", culprit, " are not; check the MD step before this one");
    TORCH_CHECK(status != MLFF_BAD_INDEX, "centers, neighbors and system_idx must be indices of the batch; entry ", culprit, " is not");
    TORCH_CHECK(status != MLFF_NO_MEMORY, "there is not enough memory for the CPU kernel with ", batch.n_atoms, " atoms and ", batch.n_edges, " edges");
    TORCH_CHECK(false, "the CPU kernel refused its input with status ", status);
}

class Structure {
  public:
    explicit Structure(const PackedModel &model) : model(model) {}

    /* Returns the energy, eV, and fills the gradient (n_atoms, 3), eV/Å, if that is given. Positions (n_atoms, 3) and
     * cell (3, 3) in Å; no other call may be under way. */
    double evaluate(const int64_t *numbers, const double *x, int64_t n, const double *cell, bool periodic, double skin, int n_threads,
                    double *gradient) {
        const int64_t lost = list.update(x, n, cell, periodic, model.description.cutoff, skin);
        if (lost >= 0)
            TORCH_CHECK(false, "positions must be finite, but atom ", lost, " is at [", x[3 * lost], ", ", x[3 * lost + 1], ", ",
                        x[3 * lost + 2], "] Å; check the MD step before this one");
        mlff_batch batch = {};
        double energy = 0;
        const int32_t status = model.description.is_double ? call<double>(batch, numbers, x, n, n_threads, &energy, gradient)
                                                           : call<float>(batch, numbers, x, n, n_threads, &energy, gradient);
        if (status == MLFF_OVERLAP) return overlapping(numbers, x, n, batch.culprit, gradient);
        check_status(status, batch);
        TORCH_CHECK(!trial.went_through(x, size_t(3 * n)), "the run went on through atoms that overlap, closer than ",
                    model.description.overlap, " Å; check the structure or shorten the time step");
        trial.passed(x, size_t(3 * n), energy);
        return energy;
    }

  private:
    const PackedModel &model;
    VerletList list;
    Trial trial;
    std::vector<int64_t> zeros; /* the system of each atom */
    std::vector<double> place;  /* memory for `real` numbers */

    void vector_of(int64_t edge, const double *x, double *to) const {
        const double *from = x + 3 * list.centers[edge], *at = x + 3 * list.neighbors[edge];
        for (int c = 0; c < 3; c++) to[c] = (at[c] - from[c]) + (list.offsets.empty() ? 0 : list.offsets[3 * edge + c]);
    }

    template <class real>
    int32_t call(mlff_batch &batch, const int64_t *numbers, const double *x, int64_t n, int n_threads, double *energy, double *gradient) {
        /* The vectors of the edges are subtracted in double and passed as shifts in a cell of ones, with every atom at the
         * origin: they are then exact however far from the origin the atoms are. */
        static const real ones[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1};
        const size_t n_edges = list.centers.size(), n_reals = 3 * (n_edges + 2 * size_t(n));
        place.resize(std::max(place.size(), n_reals * sizeof(real) / sizeof(double) + 1));
        real *vectors = reinterpret_cast<real *>(place.data()), *origin = vectors + 3 * n_edges, *forces = origin + 3 * n;
        if (zeros.size() < size_t(n)) zeros.resize(size_t(n));
        std::fill(origin, origin + 3 * n, real(0));
        for (size_t e = 0; e < n_edges; e++) {
            double d[3];
            vector_of(int64_t(e), x, d);
            for (int c = 0; c < 3; c++) vectors[3 * e + c] = real(d[c]);
        }
        batch.n_atoms = n;
        batch.n_systems = 1;
        batch.n_edges = int64_t(n_edges);
        batch.positions = origin;
        batch.cell = ones;
        batch.atomic_numbers = numbers;
        batch.system_idx = zeros.data();
        batch.centers = list.centers.data();
        batch.neighbors = list.neighbors.data();
        batch.cell_shifts = vectors;
        batch.n_threads = n_threads;
        batch.energy = energy;
        batch.forces = gradient ? forces : nullptr;
        batch.culprit = -1;
        const int32_t status = model.evaluate(batch);
        if (status == MLFF_OK && gradient)
            for (int64_t k = 0; k < 3 * n; k++) gradient[k] = -double(forces[k]);
        return status;
    }

    /* The energy of a trial step: a repulsion of the overlapping atoms, above the energy of the last good structure. */
    double overlapping(const int64_t *numbers, const double *x, int64_t n, int64_t culprit, double *gradient) {
        std::vector<int64_t> near;
        int64_t closest = culprit;
        double least = -1;
        for (int64_t e = 0; e < int64_t(list.centers.size()); e++) {
            double d[3];
            vector_of(e, x, d);
            const double square = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
            if (least < 0 || square < least) {
                least = square;
                closest = e;
            }
            if (square < model.description.overlap * model.description.overlap) near.push_back(e);
        }
        if (near.empty()) near.push_back(closest); /* at the limit, the kernel's rounding decides */
        TORCH_CHECK(trial.begins_or_goes_on(x, size_t(3 * n)), "atoms ", list.centers[closest], " and ", list.neighbors[closest],
                    " overlap: they are ", std::sqrt(least), " Å apart, at least ", model.description.overlap,
                    " Å is needed; check the structure or shorten the time step");
        if (gradient) std::fill(gradient, gradient + 3 * n, 0.0);
        double energy = trial.good_energy;
        for (const int64_t e : near) {
            double d[3];
            vector_of(e, x, d);
            const int64_t i = list.centers[e], j = list.neighbors[e];
            const double square = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
            const double charges = 0.5 * MLFF_COULOMB * double(numbers[i]) * double(numbers[j]);
            double slope; /* dE/d(r²) */
            if (square < MLFF_NUCLEUS * MLFF_NUCLEUS) {
                energy += charges * (1.5 / MLFF_NUCLEUS - 0.5 * square / (MLFF_NUCLEUS * MLFF_NUCLEUS * MLFF_NUCLEUS));
                slope = -0.5 * charges / (MLFF_NUCLEUS * MLFF_NUCLEUS * MLFF_NUCLEUS);
            } else {
                energy += charges / std::sqrt(square);
                slope = -0.5 * charges / (square * std::sqrt(square));
            }
            for (int c = 0; gradient && c < 3; c++) {
                gradient[3 * j + c] += 2 * slope * d[c];
                gradient[3 * i + c] -= 2 * slope * d[c];
            }
        }
        return energy;
    }
};

}  // namespace mlff_operators
#endif
