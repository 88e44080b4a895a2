/* Over 300 lines, in one file because LAMMPS has a class of a pair style in one file. */
#include "pair_mlff.h"

#include <cmath>
#include <cstring>
#include <dlfcn.h>

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "memory.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "plugin_interface.h"
#include "update.h"

using namespace LAMMPS_NS;

namespace mlff {

/* Å by which an edge may be longer than the cutoff: the kernel decides in its own precision. */
constexpr double MARGIN = 1e-3;

/* e²/4πε₀ in eV Å, and the radius in Å within which the repulsion of a trial step stays finite; as in trial.py. */
constexpr double COULOMB = 14.399645468683595, NUCLEUS = 0.05;

std::string Kernel::open(const char *path) {
    /* Never closed: its threads may still be there. */
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) return dlerror();
    abi = reinterpret_cast<decltype(abi)>(dlsym(library, "mlff_abi"));
    create = reinterpret_cast<decltype(create)>(dlsym(library, "mlff_painn_create"));
    evaluate = reinterpret_cast<decltype(evaluate)>(dlsym(library, "mlff_painn_evaluate"));
    destroy = reinterpret_cast<decltype(destroy)>(dlsym(library, "mlff_painn_destroy"));
    if (!abi || !create || !evaluate || !destroy || abi() != MLFF_ABI) return std::string(path) + " is of another version";
    return "";
}

PairMLFF::PairMLFF(LAMMPS *lmp) : Pair(lmp) {
    single_enable = 0;
    restartinfo = 0;
    one_coeff = 1;
    manybody_flag = 1;
    ghostneigh = 1;
    no_virial_fdotr_compute = 1;
    centroidstressflag = CENTROID_NOTAVAIL;
    const std::string complaint = kernel.open(MLFF_KERNEL_PATH);
    if (!complaint.empty())
        error->all(FLERR, "the kernel of pair_style mlff cannot be loaded ({}); build the plugin anew with `mlff lammps build-plugin`",
                   complaint);
}

PairMLFF::~PairMLFF() {
    if (model) kernel.destroy(model);
    if (!allocated) return;
    memory->destroy(setflag);
    memory->destroy(cutsq);
    memory->destroy(cutghost);
}

void PairMLFF::allocate() {
    const int n = atom->ntypes + 1;
    allocated = 1;
    memory->create(setflag, n, n, "pair:setflag");
    memory->create(cutsq, n, n, "pair:cutsq");
    memory->create(cutghost, n, n, "pair:cutghost");
    for (int i = 1; i < n; i++)
        for (int j = 1; j < n; j++) setflag[i][j] = 0;
}

void PairMLFF::settings(int n_arguments, char **) {
    if (n_arguments > 0) error->all(FLERR, "pair_style mlff takes no arguments, got {}", n_arguments);
}

void PairMLFF::coeff(int n_arguments, char **arguments) {
    if (n_arguments != 3 + atom->ntypes || strcmp(arguments[0], "*") != 0 || strcmp(arguments[1], "*") != 0)
        error->all(FLERR, "pair_style mlff wants `pair_coeff * * FILE` and the element of each of the {} atom types", atom->ntypes);
    ModelFile file;
    const std::string complaint = file.read(arguments[2]);
    if (!complaint.empty()) error->one(FLERR, "the model file {} {}", arguments[2], complaint);
    std::vector<int64_t> numbers(1, 0);
    for (int type = 1; type <= atom->ntypes; type++) {
        const auto found = file.number_of_symbol.find(arguments[2 + type]);
        if (found == file.number_of_symbol.end())
            error->all(FLERR, "the model in {} does not know {}, the element of atom type {}; it was made for {}", arguments[2],
                       arguments[2 + type], type, file.symbols());
        numbers.push_back(found->second);
    }
    if (model) kernel.destroy(model);
    model = kernel.create(&file.description, nullptr);
    if (!model) error->one(FLERR, "the kernel cannot hold the model in {}", arguments[2]);
    shape = file.description;
    shape.parameters = shape.constants = nullptr;
    number_of_type = numbers;
    closed_shell = file.closed_shell;
    if (!allocated) allocate();
    for (int i = 1; i <= atom->ntypes; i++)
        for (int j = i; j <= atom->ntypes; j++) setflag[i][j] = 1;
}

/* The atoms of all processes are counted, once a run. */
void PairMLFF::check_electrons() {
    int64_t mine = 0, n_electrons = 0;
    for (int i = 0; i < atom->nlocal; i++) mine += number_of_type[atom->type[i]];
    MPI_Allreduce(&mine, &n_electrons, 1, MPI_INT64_T, MPI_SUM, world);
    if (n_electrons % 2 != 0)
        error->all(FLERR, "the model of pair_style mlff was made for closed shells, but at a total charge of +0 e the structure has {} electrons, "
                   "an odd number; check that no atom is missing, or use a model that takes open shells", n_electrons);
}

void PairMLFF::init_style() {
    if (!force->newton_pair) error->all(FLERR, "pair_style mlff needs `newton on`, by which forces on ghosts reach their owners");
    if (strcmp(update->unit_style, "metal") == 0) unit = 1;
    else if (strcmp(update->unit_style, "real") == 0) unit = MLFF_KCAL_MOL_PER_EV;
    else error->all(FLERR, "pair_style mlff needs `units metal` or `units real`, got `units {}`", update->unit_style);
    has_good = false;
    if (comm->mode != Comm::SINGLE) error->all(FLERR, "pair_style mlff needs `comm_modify mode single`");
    if (atom->molecular != Atom::ATOMIC)
        for (int k = 1; k < 4; k++)
            if (force->special_lj[k] == 0 && force->special_coul[k] == 0)
                error->all(FLERR, "pair_style mlff needs bonded atoms as neighbours too; add `special_bonds lj/coul 1 1 1`");
    if (closed_shell) check_electrons();
    /* Ghosts as far as messages come from, also when atoms have moved since they were chosen. If all atoms are here, all
     * ghosts are images of them, whose neighbours nobody reads. */
    const bool alone = comm->nprocs == 1 && atom->tag_enable;
    const double reach = (alone ? 1 : shape.n_layers) * shape.cutoff + neighbor->skin;
    if (comm->cutghostuser < reach) comm->cutghostuser = reach;
    neighbor->add_request(this, alone ? NeighConst::REQ_FULL : NeighConst::REQ_FULL | NeighConst::REQ_GHOST);
}

double PairMLFF::init_one(int i, int j) {
    if (setflag[i][j] == 0) error->all(FLERR, "pair_style mlff has no pair_coeff yet");
    cutghost[i][j] = cutghost[j][i] = shape.cutoff;
    return shape.cutoff;
}

/* Returns the place of the atom that local atom j is, or is an image of; -1 if it has none yet. */
int PairMLFF::place_of(int j) {
    if (place[j] >= 0 || !atom->tag_enable) return place[j];
    if (alias[j] < 0) {
        const auto found = place_of_tag.find(atom->tag[j]);
        if (found != place_of_tag.end()) alias[j] = found->second;
    }
    return alias[j];
}

/* Adds the edges of atom i to those neighbours that at most `farthest` edges lead to, and takes new neighbours in. An
 * image of an atom that is in already is that atom, except where i is outermost: the outermost look back along the
 * edges that led to them, and images of their neighbours have led elsewhere. */
void PairMLFF::look_around(int i, int farthest) {
    const double longest = (shape.cutoff + MARGIN) * (shape.cutoff + MARGIN);
    const bool outermost = steps[i] == shape.n_layers;
    double **x = atom->x;
    for (int k = 0; k < list->numneigh[i]; k++) {
        const int j = list->firstneigh[i][k] & NEIGHMASK;
        int q = outermost ? place[j] : place_of(j);
        if (q < 0 && outermost) continue;
        if (q >= 0 && steps[atoms[size_t(q)]] > farthest) continue;
        const double dx = x[j][0] - x[i][0], dy = x[j][1] - x[i][1], dz = x[j][2] - x[i][2];
        if (!(dx * dx + dy * dy + dz * dz < longest)) continue;
        if (q < 0) {
            q = place[j] = int(atoms.size());
            steps[j] = steps[i] + 1;
            atoms.push_back(j);
            if (atom->tag_enable && steps[j] < shape.n_layers) place_of_tag.emplace(atom->tag[j], q);
        }
        centers.push_back(place[i]);
        neighbors.push_back(q);
        sources.push_back(j);
    }
}

/* Finds the part: breadth first from the owned atoms, so that it comes out in the order the kernel wants. */
void PairMLFF::order_atoms() {
    const int n_local = atom->nlocal, n_layers = shape.n_layers;
    const size_t n_all = size_t(n_local) + size_t(atom->nghost);
    place.assign(n_all, -1);
    alias.assign(n_all, -1);
    steps.assign(n_all, 0);
    place_of_tag.clear();
    atoms.clear();
    centers.clear();
    neighbors.clear();
    sources.clear();
    n_centers.assign(size_t(n_layers), 0);
    for (int i = 0; i < n_local; i++) {
        place[i] = i;
        atoms.push_back(i);
        if (atom->tag_enable) place_of_tag.emplace(atom->tag[i], i);
    }
    size_t next = 0;
    for (int step = 0; step < n_layers; step++) {
        const size_t end = atoms.size();
        n_centers[size_t(n_layers - 1 - step)] = int64_t(end);
        for (; next < end; next++) look_around(atoms[next], n_layers);
    }
    /* The outermost send nothing; they only look back. */
    for (; next < atoms.size(); next++) look_around(atoms[next], n_layers - 1);
}

/* Fills `energy`, `atom_energies`, `forces` and `total_virial`, in eV and Å, by the kernel in its precision. */
template <class Real>
int PairMLFF::evaluate(Real *) {
    const size_t n = atoms.size(), n_edges = centers.size();
    std::vector<Real> positions(3 * n), shifts(3 * n_edges), real_forces(3 * n);
    std::vector<int64_t> numbers(n), systems(n, 0);
    const Real cell[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1};
    Real real_virial[9];
    double **x = atom->x;
    for (size_t p = 0; p < n; p++) {
        numbers[p] = number_of_type[size_t(atom->type[atoms[p]])];
        for (int c = 0; c < 3; c++) positions[3 * p + c] = Real(x[atoms[p]][c] - x[atoms[0]][c]);
    }
    /* What positions lose by rounding, and the way from an atom to its image, go with each edge, as a shift in a cell of
     * unit vectors: so numbers depend on neither the place in the box nor the process. */
    for (size_t e = 0; e < n_edges; e++) {
        const size_t p = size_t(centers[e]), q = size_t(neighbors[e]);
        for (int c = 0; c < 3; c++)
            shifts[3 * e + c] = Real(x[sources[e]][c] - x[atoms[p]][c] - (double(positions[3 * q + c]) - double(positions[3 * p + c])));
    }
    atom_energies.resize(n);
    batch.n_atoms = int64_t(n);
    batch.n_systems = 1;
    batch.n_edges = int64_t(n_edges);
    batch.positions = positions.data();
    batch.cell = cell;
    batch.atomic_numbers = numbers.data();
    batch.system_idx = systems.data();
    batch.centers = centers.data();
    batch.neighbors = neighbors.data();
    batch.cell_shifts = shifts.data();
    batch.n_threads = comm->nthreads;
    batch.energy = &energy;
    batch.atom_energies = atom_energies.data();
    batch.forces = real_forces.data();
    batch.virial = real_virial;
    batch.n_centers = n_centers.data();
    batch.culprit = -1;
    const int status = kernel.evaluate(model, &batch);
    if (status != MLFF_OK) return status;
    forces.assign(real_forces.begin(), real_forces.end());
    for (int k = 0; k < 9; k++) total_virial[k] = real_virial[k];
    return status;
}

void PairMLFF::refuse(int status, int64_t culprit) {
    const bool known = culprit >= 0;
    if (status == MLFF_OVERLAP && known) {
        const tagint *tag = atom->tag;
        error->one(FLERR, "atoms {} and {} are closer than {} Angstrom", tag[atoms[size_t(centers[size_t(culprit)])]],
                   tag[atoms[size_t(neighbors[size_t(culprit)])]], shape.overlap);
    }
    if (status == MLFF_NOT_FINITE && known)
        error->one(FLERR, "the position of atom {} is not finite", atom->tag[atoms[size_t(culprit)]]);
    if (status == MLFF_NO_MEMORY) error->one(FLERR, "no memory for {} atoms, ghosts included", atoms.size());
    error->one(FLERR, "the kernel of pair_style mlff refused its input (status {})", status);
}

/* Returns whether this is a minimiser's trial step in which atoms overlap, on this process or another. */
bool PairMLFF::is_trial(int status) {
    if (update->whichflag != 2) return false;
    const int mine = status == MLFF_OVERLAP;
    int overlaps = 0;
    MPI_Allreduce(&mine, &overlaps, 1, MPI_INT, MPI_MAX, world);
    if (overlaps) return has_good;
    has_good = true;
    good_energy = atom->nlocal ? energy : 0;
    return false;
}

/* Gives the energy of the last structure without overlaps and the repulsion of the overlapping nuclei, so that a line
 * search comes back; each process does the edges that start at its own atoms. */
void PairMLFF::repel() {
    double **x = atom->x;
    forces.assign(3 * atoms.size(), 0);
    energy = good_energy;
    for (double &w : total_virial) w = 0;
    atom_energies.assign(size_t(atom->nlocal), atom->nlocal ? good_energy / atom->nlocal : 0);
    for (size_t e = 0; e < centers.size(); e++) {
        const size_t p = size_t(centers[e]), q = size_t(neighbors[e]);
        const int i = atoms[p], j = sources[e];
        if (i >= atom->nlocal) continue;
        const double d[3] = {x[j][0] - x[i][0], x[j][1] - x[i][1], x[j][2] - x[i][2]};
        const double squared = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
        if (!(squared < shape.overlap * shape.overlap)) continue;
        const double charges = 0.5 * COULOMB * double(number_of_type[size_t(atom->type[i])]) * double(number_of_type[size_t(atom->type[j])]);
        const double r = std::sqrt(squared < NUCLEUS * NUCLEUS ? NUCLEUS * NUCLEUS : squared);
        const double pair = charges * (squared < NUCLEUS * NUCLEUS ? 1.5 / r - 0.5 * squared / (r * r * r) : 1 / r);
        energy += pair;
        atom_energies[size_t(i)] += pair;
        for (int c = 0; c < 3; c++) {
            const double push = charges / (r * r * r) * d[c];
            forces[3 * p + size_t(c)] -= push;
            forces[3 * q + size_t(c)] += push;
            for (int k = 0; k < 3; k++) total_virial[3 * c + k] += push * d[k];
        }
    }
}

void PairMLFF::compute(int eflag, int vflag) {
    ev_init(eflag, vflag);
    if (vflag_atom || cvflag_atom) error->all(FLERR, "pair_style mlff gives no virials of atoms");
    const int n_local = atom->nlocal;
    const bool alone = comm->nprocs == 1 && atom->tag_enable;
    if (list->inum != n_local || (!alone && list->inum + list->gnum != n_local + atom->nghost))
        error->one(FLERR, "pair_style mlff must see all atoms; it cannot be one of several styles for different types");
    int status = MLFF_OK;
    order_atoms();
    if (n_local > 0) status = shape.is_double ? evaluate(static_cast<double *>(nullptr)) : evaluate(static_cast<float *>(nullptr));
    if (status != MLFF_OK && status != MLFF_OVERLAP) refuse(status, batch.culprit);
    if (is_trial(status)) repel();
    else if (status != MLFF_OK) refuse(status, batch.culprit);
    else if (n_local == 0) return;
    double **f = atom->f;
    for (size_t p = 0; p < atoms.size(); p++)
        for (int c = 0; c < 3; c++) f[atoms[p]][c] += unit * forces[3 * p + size_t(c)];
    if (eflag_global) eng_vdwl += unit * energy;
    if (eflag_atom)
        for (int i = 0; i < n_local; i++) eatom[i] += unit * atom_energies[size_t(i)];
    if (vflag_global) {
        const double *w = total_virial;
        const double xx_to_yz[6] = {w[0], w[4], w[8], 0.5 * (w[1] + w[3]), 0.5 * (w[2] + w[6]), 0.5 * (w[5] + w[7])};
        for (int k = 0; k < 6; k++) virial[k] += unit * xx_to_yz[k];
    }
}

}  // namespace mlff

extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void *lammps, void *handle, void *register_style) {
    LAMMPS *lmp = static_cast<LAMMPS *>(lammps);
    if (lmp->num_ver != MLFF_LAMMPS_RELEASE)
        lmp->error->all(FLERR, "the plugin was built for LAMMPS {}, this is {}; build it anew with `mlff lammps build-plugin`",
                        MLFF_LAMMPS_RELEASE, lmp->num_ver);
    mlff::PluginStyle style = {};
    style.lammps_version = lmp->version;
    style.kind = "pair";
    style.name = "mlff";
    style.description = "mlff-hub models over many MPI processes";
    style.author = "mlff-hub developers";
    style.create = [](void *instance) -> void * {
        return static_cast<Pair *>(new mlff::PairMLFF(static_cast<LAMMPS *>(instance)));
    };
    style.handle = handle;
    reinterpret_cast<mlff::RegisterStyle>(register_style)(&style, lammps);
}
