/* torch.ops.mlff: the CPU kernel as operators of torch, for files that run without this package. */
#include <optional>
#include <string_view>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "states.h"

namespace mlff_operators {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/* On the CPU, in one piece; most often it is so already, and operations that do nothing cost a microsecond each. */
Tensor plain(const Tensor &tensor, at::ScalarType type) {
    if (tensor.is_cpu() && tensor.scalar_type() == type && tensor.is_contiguous()) return tensor;
    return tensor.detach().to(at::kCPU, type).contiguous();
}

Tensor like(const Tensor &tensor, const Tensor &other, at::ScalarType type) {
    return other.is_cpu() && tensor.scalar_type() == type ? tensor : tensor.to(other.device(), type);
}

/* A gradient as it is; its own derivative is refused. */
struct Once : torch::autograd::Function<Once> {
    static Tensor forward(AutogradContext *, const Tensor &gradient, const Tensor &) { return gradient.clone(); }
    static variable_list backward(AutogradContext *, const variable_list &) {
        TORCH_CHECK(false, "a fused file gives energies and first derivatives; for second ones, such as a Hessian, export the model "
                           "with `--option operator=portable`");
        return {};
    }
};

struct StructureEnergy : torch::autograd::Function<StructureEnergy> {
    static Tensor forward(AutogradContext *context, const Tensor &positions, const Tensor &energy, const Tensor &gradient) {
        context->save_for_backward({positions, gradient});
        return energy;
    }
    static variable_list backward(AutogradContext *context, const variable_list &above) {
        const variable_list saved = context->get_saved_variables();
        Tensor slope = like(above[0], saved[1], saved[1].scalar_type()) * saved[1];
        if (at::GradMode::is_enabled()) slope = Once::apply(slope, saved[0]);
        return {slope, Tensor(), Tensor()};
    }
};

/* Energy of one structure, one number in float64, differentiable once in its positions. Positions (n_atoms, 3) and cell (3, 3)
 * are in units of `length` Å; the energy is in the unit of which `energy_unit` make an eV; the skin is in Å. */
Tensor structure_energy(const Tensor &model, const Tensor &atomic_numbers, const Tensor &positions, const Tensor &cell, bool periodic,
                        double skin, double length, double energy_unit, std::string_view) {
    TORCH_CHECK(positions.dim() == 2 && positions.size(1) == 3 && atomic_numbers.dim() == 1 && atomic_numbers.size(0) == positions.size(0) &&
                    cell.dim() == 2 && cell.size(0) == 3 && cell.size(1) == 3,
                "wanted atomic_numbers (n_atoms,), positions (n_atoms, 3) and cell (3, 3), got ", atomic_numbers.sizes(), ", ",
                positions.sizes(), " and ", cell.sizes());
    const bool follows = at::GradMode::is_enabled();
    TORCH_CHECK(!(follows && cell.requires_grad()), "the energy of a fused file has no derivative in the cell; export the model with "
                                                    "`--option operator=portable`");
    const bool wanted = follows && positions.requires_grad();
    const int64_t n = positions.size(0);
    const Tensor numbers = plain(atomic_numbers, at::kLong), given = plain(positions, at::kDouble), box = plain(cell, at::kDouble);
    std::vector<double> x(given.const_data_ptr<double>(), given.const_data_ptr<double>() + 3 * n);
    for (double &coordinate : x) coordinate *= length;
    double vectors[9];
    for (int k = 0; k < 9; k++) vectors[k] = box.const_data_ptr<double>()[k] * length;
    const Tensor gradient = wanted ? at::empty({n, 3}, at::kDouble) : Tensor();
    double energy = 0;
    {
        const std::shared_ptr<State> state = States::of(model);
        std::lock_guard<std::mutex> guard(state->mutex);
        energy = state->structure.evaluate(numbers.const_data_ptr<int64_t>(), x.data(), n, vectors, periodic,
                                           skin, at::get_num_threads(), wanted ? gradient.mutable_data_ptr<double>() : nullptr);
    }
    const Tensor sum = like(at::scalar_tensor(energy * energy_unit, at::kDouble), positions, at::kDouble);
    if (!wanted) return sum;
    double *slopes = gradient.mutable_data_ptr<double>();
    for (int64_t k = 0; k < 3 * n; k++) slopes[k] *= energy_unit * length;
    return StructureEnergy::apply(positions, sum, like(gradient, positions, positions.scalar_type()));
}

/* Energy (n_systems,), energies of atoms (n_atoms,), forces (n_atoms, 3), virial (n_systems, 3, 3), charges (n_atoms,) or
 * (0,) from the vectors of edges: what mlff_core/model/edge_graph.py computes. Nothing is differentiable. */
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> edge_outputs(const Tensor &model, const Tensor &atomic_numbers, const Tensor &edge_vectors,
                                                                const Tensor &centers, const Tensor &neighbors, const Tensor &system_idx, std::string_view) {
    const int64_t n = atomic_numbers.numel(), n_edges = centers.numel();
    TORCH_CHECK(edge_vectors.dim() == 2 && edge_vectors.size(0) == n_edges && edge_vectors.size(1) == 3 && neighbors.numel() == n_edges &&
                    system_idx.numel() == n,
                "wanted atomic_numbers and system_idx (n_atoms,), edge_vectors (n_edges, 3), centers and neighbors (n_edges,), got ",
                atomic_numbers.sizes(), ", ", system_idx.sizes(), ", ", edge_vectors.sizes(), ", ", centers.sizes(), " and ", neighbors.sizes());
    const std::shared_ptr<State> state = States::of(model);
    const at::ScalarType real = state->model.description.is_double ? at::kDouble : at::kFloat;
    const Tensor numbers = plain(atomic_numbers, at::kLong), from = plain(centers, at::kLong), to = plain(neighbors, at::kLong),
                 system = plain(system_idx, at::kLong), vectors = plain(edge_vectors, real);
    const int64_t n_systems = n ? system.max().item<int64_t>() + 1 : 0;
    /* The vectors are passed as shifts in cells of ones, with every atom at the origin. */
    const Tensor cells = at::eye(3, real).repeat({n_systems, 1, 1}), origin = at::zeros({n, 3}, real);
    const bool charged = state->model.description.n_charge > 0;
    Tensor energy = at::empty({n_systems}, at::kDouble), atom_energies = at::empty({n}, at::kDouble), forces = at::empty({n, 3}, real),
           virial = at::empty({n_systems, 3, 3}, real), charges = at::empty({charged ? n : 0}, at::kDouble);
    mlff_batch batch = {};
    batch.n_atoms = n;
    batch.n_systems = n_systems;
    batch.n_edges = n_edges;
    batch.positions = origin.const_data_ptr();
    batch.cell = cells.const_data_ptr();
    batch.atomic_numbers = numbers.const_data_ptr<int64_t>();
    batch.system_idx = system.const_data_ptr<int64_t>();
    batch.centers = from.const_data_ptr<int64_t>();
    batch.neighbors = to.const_data_ptr<int64_t>();
    batch.cell_shifts = vectors.const_data_ptr();
    batch.n_threads = at::get_num_threads();
    batch.energy = energy.mutable_data_ptr<double>();
    batch.atom_energies = atom_energies.mutable_data_ptr<double>();
    batch.charges = charged ? charges.mutable_data_ptr<double>() : nullptr;
    batch.forces = forces.mutable_data_ptr();
    batch.virial = virial.mutable_data_ptr();
    batch.culprit = -1;
    check_status(state->model.evaluate(batch), batch);
    const at::Device device = edge_vectors.device();
    return {energy.to(device), atom_energies.to(device), forces.to(device), virial.to(device), charges.to(device, real)};
}

struct SystemEnergies : torch::autograd::Function<SystemEnergies> {
    static Tensor forward(AutogradContext *context, const Tensor &positions, const Tensor &cell, const Tensor &energies,
                          const Tensor &gradient, const Tensor &cell_gradient) {
        context->save_for_backward({positions, cell, gradient, cell_gradient});
        return energies;
    }
    static variable_list backward(AutogradContext *context, const variable_list &above) {
        const variable_list saved = context->get_saved_variables();
        const Tensor weights = plain(above[0], at::kDouble);
        const double *weight = weights.const_data_ptr<double>(), first = weights.numel() ? weight[0] : 0;
        for (int64_t k = 1; k < weights.numel(); k++)
            TORCH_CHECK(weight[k] == first, "a fused file differentiates the sum of atom energies, not each of them; export the "
                                            "model with `--option operator=portable`");
        Tensor slope = saved[2] * first, cell_slope = saved[3] * first;
        if (at::GradMode::is_enabled()) {
            slope = Once::apply(slope, saved[0]);
            cell_slope = Once::apply(cell_slope, saved[1]);
        }
        return {slope, cell_slope, Tensor(), Tensor(), Tensor()};
    }
};

/* Energies of the atoms of one system, eV float64, or of those that are selected, in their order; what is differentiable, once,
 * in positions (n_atoms, 3) and cell (3, 3), Å, is their sum. A pair is (centre, neighbour, steps along the three cell
 * vectors), and is there in both directions. */
Tensor system_energies(const Tensor &model, const Tensor &atomic_numbers, const Tensor &positions, const Tensor &cell,
                       const Tensor &pairs, const std::optional<Tensor> &selected, std::string_view) {
    const int64_t n = positions.size(0), n_pairs = pairs.size(0);
    TORCH_CHECK(positions.dim() == 2 && positions.size(1) == 3 && atomic_numbers.dim() == 1 && atomic_numbers.size(0) == n &&
                    cell.dim() == 2 && cell.size(0) == 3 && cell.size(1) == 3 && pairs.dim() == 2 && pairs.size(1) == 5,
                "wanted atomic_numbers (n_atoms,), positions (n_atoms, 3), cell (3, 3) and pairs (n_pairs, 5), got ",
                atomic_numbers.sizes(), ", ", positions.sizes(), ", ", cell.sizes(), " and ", pairs.sizes());
    const std::shared_ptr<State> state = States::of(model);
    const mlff_painn &description = state->model.description;
    const at::ScalarType real = description.is_double ? at::kDouble : at::kFloat;
    const bool follows = at::GradMode::is_enabled() && (positions.requires_grad() || cell.requires_grad());
    const Tensor numbers = plain(atomic_numbers, at::kLong), x = plain(positions, at::kDouble), box = plain(cell, at::kDouble),
                 edges = plain(pairs, at::kLong);
    const int64_t *edge = edges.const_data_ptr<int64_t>();
    const double *at = x.const_data_ptr<double>(), *row = box.const_data_ptr<double>();
    /* The kernel has the atoms whose energies are wanted first. */
    const Tensor chosen = selected ? plain(*selected, at::kLong) : at::arange(n, at::kLong);
    const int64_t n_chosen = chosen.numel(), *pick = chosen.const_data_ptr<int64_t>();
    std::vector<int64_t> place(size_t(n), -1), order;
    for (int64_t k = 0; k < n_chosen; k++) {
        TORCH_CHECK(pick[k] >= 0 && pick[k] < n && place[size_t(pick[k])] < 0, "selected atoms must be different indices below ", n,
                    ", but entry ", k, " is ", pick[k]);
        place[size_t(pick[k])] = k;
        order.push_back(pick[k]);
    }
    for (int64_t i = 0; i < n; i++)
        if (place[size_t(i)] < 0) {
            place[size_t(i)] = int64_t(order.size());
            order.push_back(i);
        }
    std::vector<int64_t> ordered(size_t(n), 0), centers(size_t(n_pairs), 0), neighbors(size_t(n_pairs), 0), system(size_t(n), 0);
    for (int64_t i = 0; i < n; i++) ordered[size_t(i)] = numbers.const_data_ptr<int64_t>()[order[size_t(i)]];
    const Tensor vectors = at::empty({n_pairs, 3}, at::kDouble);
    double *vector = vectors.mutable_data_ptr<double>();
    for (int64_t e = 0; e < n_pairs; e++) {
        const int64_t i = edge[5 * e], j = edge[5 * e + 1];
        TORCH_CHECK(i >= 0 && i < n && j >= 0 && j < n, "pairs must hold indices of atoms below ", n, ", but entry ", e, " has ", i, " and ", j);
        centers[size_t(e)] = place[size_t(i)];
        neighbors[size_t(e)] = place[size_t(j)];
        for (int c = 0; c < 3; c++)
            vector[3 * e + c] = at[3 * j + c] - at[3 * i + c] + double(edge[5 * e + 2]) * row[c] + double(edge[5 * e + 3]) * row[3 + c] +
                                double(edge[5 * e + 4]) * row[6 + c];
    }
    const Tensor shifts = vectors.to(real), ones = at::eye(3, real), origin = at::zeros({n, 3}, real), energies = at::empty({n}, at::kDouble),
                 forces = at::empty({n, 3}, real), virial = at::empty({1, 3, 3}, real);
    std::vector<int64_t> n_centers(size_t(description.n_layers), n);
    n_centers.back() = n_chosen;
    mlff_batch batch = {};
    batch.n_atoms = n;
    batch.n_systems = 1;
    batch.n_edges = n_pairs;
    batch.positions = origin.const_data_ptr();
    batch.cell = ones.const_data_ptr();
    batch.atomic_numbers = ordered.data();
    batch.system_idx = system.data();
    batch.centers = centers.data();
    batch.neighbors = neighbors.data();
    batch.cell_shifts = shifts.const_data_ptr();
    batch.n_threads = at::get_num_threads();
    batch.atom_energies = energies.mutable_data_ptr<double>();
    batch.forces = follows ? forces.mutable_data_ptr() : nullptr;
    batch.virial = follows ? virial.mutable_data_ptr() : nullptr;
    batch.n_centers = n_chosen == n ? nullptr : n_centers.data();
    batch.culprit = -1;
    const int32_t status = state->model.evaluate(batch);
    if (status == MLFF_UNKNOWN_ELEMENT || status == MLFF_NOT_FINITE) {
        batch.culprit = order[size_t(batch.culprit)];
        batch.atomic_numbers = numbers.const_data_ptr<int64_t>();
    }
    check_status(status, batch);
    const Tensor found = like(energies.slice(0, 0, n_chosen), positions, at::kDouble);
    if (!follows) return found;
    const Tensor gradient = at::empty({n, 3}, at::kDouble);
    gradient.index_put_({at::tensor(order, at::kLong)}, forces.to(at::kDouble).neg());
    Tensor cell_gradient = at::zeros({3, 3}, at::kDouble);
    if (cell.requires_grad()) {
        /* A strain acts on positions and cell: dE/d(strain) = positionsᵀ · dE/d(positions) + cellᵀ · dE/d(cell). */
        const Tensor strained = virial[0].to(at::kDouble).neg() - x.t().mm(gradient);
        cell_gradient = at::linalg_pinv(box.t(), 1e-12).mm(strained);
    }
    return SystemEnergies::apply(positions, cell, found, like(gradient, positions, positions.scalar_type()),
                                 like(cell_gradient, cell, cell.scalar_type()));
}

}  // namespace

/* `needs` is not read: torch prints the line of a call whose operator is unknown, and so what must be loaded. */
TORCH_LIBRARY(mlff, library) {
    library.def("structure_energy(Tensor model, Tensor atomic_numbers, Tensor positions, Tensor cell, bool periodic, float skin,"
                " float length, float energy_unit, str needs) -> Tensor",
                structure_energy);
    library.def("edge_outputs(Tensor model, Tensor atomic_numbers, Tensor edge_vectors, Tensor centers, Tensor neighbors, Tensor system_idx,"
                " str needs) -> (Tensor energy, Tensor atom_energies, Tensor forces, Tensor virial, Tensor charges)",
                edge_outputs);
    library.def("system_energies(Tensor model, Tensor atomic_numbers, Tensor positions, Tensor cell, Tensor pairs, Tensor? selected,"
                " str needs) -> Tensor",
                system_energies);
}

}  // namespace mlff_operators
