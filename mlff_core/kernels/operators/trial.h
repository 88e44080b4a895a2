/* Trial steps of optimisers, as mlff_core/model/scripted_trial.py has them; mlff_core/potentials/trial.py describes them. */
#ifndef MLFF_TRIAL_H
#define MLFF_TRIAL_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace mlff_operators {

/* The last structure without overlaps, its energy, and the last structure if it was a trial step. Å and eV. */
class Trial {
  public:
    double good_energy = 0;

    /* Whether overlapping atoms are a trial step; records them if so. */
    bool begins_or_goes_on(const double *x, size_t size) {
        bool trial = false;
        if (last.size() == size && size)
            trial = !goes_on(x);
        else if (good.size() == size)
            trial = farthest(x, good) > MLFF_JUMP * MLFF_JUMP;
        if (trial)
            last.assign(x, x + size);
        else
            last.clear();
        return trial;
    }

    /* Whether the run came from overlapping atoms to these positions, as dynamics does. */
    bool went_through(const double *x, size_t size) {
        if (last.empty() || last.size() != size) return false;
        const bool went = goes_on(x);
        last.clear();
        return went;
    }

    /* Records a structure without overlaps. */
    void passed(const double *x, size_t size, double energy) {
        if (last.size() != size) last.clear(); /* another structure */
        good.assign(x, x + size);
        good_energy = energy;
    }

  private:
    std::vector<double> good, last;

    static double farthest(const double *x, const std::vector<double> &from) {
        double most = 0;
        for (size_t k = 0; k < from.size(); k += 3) {
            double square = 0;
            for (size_t c = 0; c < 3; c++) square += (x[k + c] - from[k + c]) * (x[k + c] - from[k + c]);
            most = std::max(most, square);
        }
        return most;
    }

    /* Whether most atoms repeated, from the trial to x, the step that led to the trial. */
    bool goes_on(const double *x) const {
        size_t n_same = 0;
        for (size_t k = 0; k < last.size(); k += 3) {
            double step = 0, change = 0;
            for (size_t c = 0; c < 3; c++) {
                const double before = last[k + c] - good[k + c], after = x[k + c] - last[k + c];
                step += before * before;
                change += (after - before) * (after - before);
            }
            n_same += change < MLFF_SAME_STEP * MLFF_SAME_STEP * step;
        }
        return farthest(x, last) > MLFF_JUMP * MLFF_JUMP && 2 * n_same > last.size() / 3;
    }
};

}  // namespace mlff_operators
#endif
