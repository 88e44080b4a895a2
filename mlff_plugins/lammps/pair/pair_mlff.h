/* LAMMPS' `pair_style mlff`: a model over any number of MPI processes. */
#ifndef MLFF_PAIR_MLFF_H
#define MLFF_PAIR_MLFF_H

#include <unordered_map>
#include <vector>

#include "model_file.h"
#include "pair.h"

namespace mlff {

/* The functions of the kernel's library that are used here. */
struct Kernel {
    decltype(&mlff_abi) abi;
    decltype(&mlff_painn_create) create;
    decltype(&mlff_painn_evaluate) evaluate;
    decltype(&mlff_painn_destroy) destroy;

    /* Returns why the library at `path` cannot be used, or nothing. */
    std::string open(const char *path);
};

/* Each process computes the energies of the atoms it owns. An energy depends on atoms that up to n_layers edges lead to,
 * so ghosts are asked for as far as n_layers cutoffs, their features are computed here too, and the forces on them go
 * back to their owners by LAMMPS' own reverse communication. Images of one atom are computed once: the others are edges
 * with a shift, so one process computes its own atoms only. */
class PairMLFF : public LAMMPS_NS::Pair {
  public:
    explicit PairMLFF(LAMMPS_NS::LAMMPS *lmp);
    ~PairMLFF() override;
    void settings(int n_arguments, char **arguments) override;
    void coeff(int n_arguments, char **arguments) override;
    void init_style() override;
    double init_one(int i, int j) override;
    void compute(int eflag, int vflag) override;

  private:
    void allocate();
    void order_atoms();
    template <class Real>
    int evaluate(Real *);
    int place_of(int j);
    void look_around(int i, int farthest);
    bool is_trial(int status);
    void repel();
    [[noreturn]] void refuse(int status, int64_t culprit);

    Kernel kernel;
    void *model = nullptr;
    mlff_painn shape = {};
    double unit = 1;                    /* 1 eV in LAMMPS' energy */
    std::vector<int64_t> number_of_type; /* by type; types count from 1 */
    bool closed_shell = false;           /* refuses an odd number of electrons */
    void check_electrons();

    /* The part of the system that is evaluated: owned atoms first, then ghosts by the edges that lead to them. */
    std::vector<int> atoms;         /* LAMMPS' index of each */
    std::vector<int> place, steps;  /* of each of LAMMPS' atoms; place −1: not in the part */
    std::vector<int> alias;         /* place of the atom that a ghost is an image of; −1: not looked up, or not in */
    std::unordered_map<LAMMPS_NS::tagint, int> place_of_tag; /* of all but the outermost */
    std::vector<int64_t> n_centers; /* see api.h */
    std::vector<int64_t> centers, neighbors; /* places */
    std::vector<int> sources;                /* LAMMPS' index of each edge's neighbour, perhaps an image of `neighbors` */
    mlff_batch batch = {};
    std::vector<double> forces, atom_energies;
    double energy = 0, total_virial[9] = {};

    /* Of the last structure without overlaps of a minimisation; this process's share. */
    bool has_good = false;
    double good_energy = 0;
};

}  // namespace mlff
#endif
