"""The network: its values, its size and its precision."""

import copy
import io

import pytest
import torch
from torch import nn

from mlff_core import find_neighbors
from mlff_core.errors import InputError
from mlff_core.model.derivatives import energies_and_edge_gradients, forces_from_edge_gradients
from mlff_core.model.painn import SMOOTHING, PaiNN, PaiNNConfig, count_parameters
from mlff_core.model.painn_shapes import weight_shapes
from mlff_core.model.presets import BUDGETS, PRESETS, preset
from mlff_core.structures.neighbors import edge_vectors
from mlff_core.testing import structures

COUNTS = {"original": 417_425, "tiny": 77_089, "ultra-tiny": 20_401}


def arguments(atoms, cutoff=5.0, dtype=torch.float64):
    batch = structures.to_batch(atoms)
    edges = find_neighbors(batch, cutoff)
    return batch.atomic_numbers, edge_vectors(batch, edges).to(dtype), edges.centers, edges.neighbors


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_preset_has_exactly_so_many_parameters_and_keeps_its_budget(name):
    count = count_parameters(PaiNN(preset(name)))
    assert count == COUNTS[name]
    assert count <= BUDGETS[name]


def test_a_preset_for_other_elements_differs_in_its_embedding_alone():
    assert count_parameters(PaiNN(preset("tiny", (1, 8)))) == COUNTS["tiny"] - 6 * 48
    with pytest.raises(InputError, match="original, tiny, ultra-tiny"):
        preset("enormous")


@pytest.mark.parametrize(
    "wrong",
    [{"elements": ()}, {"elements": (6, 1)}, {"elements": (1, 1)}, {"elements": (0, 1)}, {"elements": (1, 119)},
     {"hidden": 1}, {"n_layers": 0}, {"n_radial": 1}, {"cutoff": 0.0}, {"cutoff": float("nan")},
     {"radial_basis": "sinc"}],
    ids=str,
)  # fmt: skip
def test_an_invalid_shape_is_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        PaiNNConfig(**wrong)


def naive_painn(model, atomic_numbers, edge_vectors, centers, neighbors):
    """The paper's full PaiNN, eqs. 6 to 10, with every block; parts that the model leaves out have random weights.

    Loops over layers only; envelope, smoothing and readout as the model documents them.
    """
    config = model.config
    F, generator = config.hidden, torch.Generator().manual_seed(0)

    def random_rows(n, like):
        return torch.randn(n, *like.shape[1:], generator=generator, dtype=like.dtype)

    def extended(linear, n_out):
        missing = n_out - linear.weight.shape[0]
        weight = torch.cat([linear.weight, random_rows(missing, linear.weight)])
        return weight, torch.cat([linear.bias, random_rows(missing, linear.bias)])

    r = edge_vectors.norm(dim=1)
    unit = edge_vectors / r[:, None]
    n = torch.arange(1, config.n_radial + 1, dtype=r.dtype)
    basis = (2 / config.cutoff) ** 0.5 * torch.sin(n * torch.pi * r[:, None] / config.cutoff) / r[:, None]
    x = r / config.cutoff
    envelope = torch.where(x < 1, 1 - 28 * x**6 + 48 * x**7 - 21 * x**8, torch.zeros_like(x))

    s = model.embedding.weight[[config.elements.index(z) for z in atomic_numbers.tolist()]]
    v = torch.zeros(len(s), 3, F, dtype=s.dtype)
    for k in range(config.n_layers):
        phi, mix, a = model.messages[k].phi, model.updates[k].mix, model.updates[k].a
        filter_layer = model.filters[0] if config.shared_filters else model.filters[k]
        weight, bias = extended(filter_layer, 3 * F)
        filters = (basis @ weight.T + bias) * envelope[:, None]
        weight, bias = extended(phi[2], 3 * F)
        split = ((phi[1](phi[0](s)) @ weight.T + bias)[neighbors] * filters).split(F, dim=1)
        s = s.index_add(0, centers, split[0])
        message = unit[:, :, None] * split[1][:, None] + v[neighbors] * split[2][:, None]
        v = v.index_add(0, centers, message)
        u_v, w_v = v @ mix.weight[:F].T, v @ mix.weight[F:].T
        norm = (w_v.square().sum(1) + SMOOTHING).sqrt()
        weight, bias = extended(a[2], 3 * F)
        a_ss, a_sv, a_vv = (a[1](a[0](torch.cat([s, norm], 1))) @ weight.T + bias).split(F, dim=1)
        s, v = s + a_ss + a_sv * (u_v * w_v).sum(1), v + a_vv[:, None] * u_v
    energies = model.readout(s)[:, 0] * model.scale
    species = model.species_of_number[atomic_numbers]
    pair = model.zbl.pair_energies(r, species[centers], species[neighbors])
    return energies.index_add(0, centers, pair) + model.reference_energies[species]


@pytest.mark.parametrize("shared", [False, True], ids=["own filters", "shared filters"])
@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_the_blocks_left_out_of_the_papers_network_are_dead(n_layers, shared):
    torch.manual_seed(n_layers)
    model = PaiNN(PaiNNConfig(hidden=12, n_layers=n_layers, n_radial=8, shared_filters=shared)).double()
    model.scale.fill_(1.7)
    for atoms in (structures.ethanol(), structures.triclinic_crystal()):
        inputs = arguments(atoms)
        assert torch.allclose(model(*inputs), naive_painn(model, *inputs), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_weight_that_is_counted_is_alive(name):
    torch.manual_seed(0)
    model = PaiNN(preset(name)).double()
    numbers, vectors, centers, neighbors = arguments(structures.cluster(40))
    vectors.requires_grad_()
    energies, gradients = energies_and_edge_gradients(model, numbers, vectors, centers, neighbors, create_graph=True)
    forces = forces_from_edge_gradients(gradients, centers, neighbors, len(numbers))
    (energies.sum() + forces.square().sum()).backward()
    for parameter_name, parameter in model.named_parameters():
        gradient = parameter.grad
        assert gradient is not None, parameter_name
        assert bool(torch.isfinite(gradient).all()), parameter_name
        # Every row is used, but for the embeddings of elements that are not there.
        rows = gradient.reshape(len(gradient), -1).abs().sum(1) > 0
        there = torch.isin(torch.tensor(model.config.elements), numbers)
        assert bool((rows | ~there if parameter_name == "embedding.weight" else rows).all()), parameter_name


@pytest.mark.parametrize("name", list(PRESETS))
def test_an_untrained_student_has_energies_and_forces_of_order_one(name):
    forces, energies = [], []
    for seed in range(5):
        torch.manual_seed(seed)
        model = PaiNN(preset(name)).double()
        model.zbl.prefactors.zero_()
        for atoms in (structures.ethanol(), structures.cluster(60)):
            inputs = arguments(atoms)
            atom_energies, gradients = energies_and_edge_gradients(model, *inputs)
            energies.append(atom_energies.std())
            forces.append(forces_from_edge_gradients(gradients, *inputs[2:], len(atoms)).square().mean().sqrt())
    assert 0.1 < float(torch.stack(energies).median()) < 10
    assert 0.1 < float(torch.stack(forces).median()) < 10
    assert float(torch.stack(forces).max()) < 50


@pytest.mark.parametrize("basis", ["bessel", "gaussian"])
@pytest.mark.parametrize("shared", [False, True], ids=["own filters", "shared filters"])
def test_torchscript_computes_the_same(basis, shared):
    torch.manual_seed(0)
    model = PaiNN(PaiNNConfig(hidden=8, n_layers=2, radial_basis=basis, shared_filters=shared)).double().eval()
    script = torch.jit.script(model)
    stream = io.BytesIO()
    torch.jit.save(script, stream)
    stream.seek(0)
    for scripted in (script, torch.jit.load(stream)):
        for atoms in (structures.ethanol(), structures.small_cell(), structures.one_atom()):
            inputs = arguments(atoms)
            assert torch.equal(model(*inputs), scripted(*inputs))
            for own, other in zip(
                energies_and_edge_gradients(model, *inputs), energies_and_edge_gradients(scripted, *inputs), strict=True
            ):
                assert torch.allclose(own, other, rtol=1e-12, atol=1e-14)


REFERENCES = torch.tensor([-13.587222780835477, -1029.4893, -1485.3042, -2042.0330123456], dtype=torch.float64)
ROUND_TRIPS = {
    "float32": lambda m: m.to(torch.float32),
    "half": lambda m: m.half(),
    "bfloat16": lambda m: m.bfloat16(),
    "float32 and back": lambda m: m.float().double(),
    "the CPU in half precision": lambda m: m.to("cpu", torch.float16),
    "a submodule of another": lambda m: nn.ModuleList([m]).half()[0],
    "a copy": lambda m: copy.deepcopy(m).float(),
}


@pytest.mark.parametrize("trip", list(ROUND_TRIPS))
def test_reference_energies_keep_every_digit(trip):
    model = PaiNN(PaiNNConfig(elements=(1, 6, 7, 8), hidden=8, n_layers=1))
    model.reference_energies.copy_(REFERENCES)
    model = ROUND_TRIPS[trip](model)
    assert model.reference_energies.dtype == torch.float64
    assert torch.equal(model.reference_energies, REFERENCES)
    assert model.embedding.weight.dtype != torch.float64 or "back" in trip
    reborn = PaiNN(model.config).to(model.embedding.weight.dtype)
    reborn.load_state_dict(model.state_dict())
    assert torch.equal(reborn.reference_energies, REFERENCES)


@pytest.mark.parametrize("basis", ["bessel", "gaussian"])
def test_a_model_in_float64_does_not_depend_on_earlier_casts(basis):
    torch.manual_seed(0)
    config = PaiNNConfig(hidden=8, n_layers=2, radial_basis=basis)
    single_precision = PaiNN(config)
    wandering = copy.deepcopy(single_precision).half().float().double()
    wandering.load_state_dict(single_precision.state_dict())
    straight = copy.deepcopy(single_precision).double()
    inputs = arguments(structures.ethanol())
    assert torch.equal(wandering(*inputs), straight(*inputs))
    exact = torch.arange(1, 21, dtype=torch.float64) * torch.pi / 5.0
    if basis == "bessel":
        assert torch.equal(straight.basis.frequencies, exact)


def test_an_atom_without_edges_has_an_energy_and_no_gradient():
    model = PaiNN(PaiNNConfig(hidden=8, n_layers=2)).double()
    energies, gradients = energies_and_edge_gradients(model, *arguments(structures.one_atom()))
    assert energies.shape == (1,)
    assert energies.dtype == torch.float64
    assert gradients.shape == (0, 3)


def test_the_reference_energies_are_a_constant_and_the_scale_a_factor():
    torch.manual_seed(0)
    model = PaiNN(PaiNNConfig(elements=(1, 6, 8), hidden=8, n_layers=2)).double()
    model.zbl.prefactors.zero_()
    inputs = arguments(structures.ethanol())
    plain = model(*inputs)
    model.scale.fill_(3.0)
    model.reference_energies.copy_(torch.tensor([-1.0, -10.0, -100.0]))
    constants = torch.tensor([{1: -1.0, 6: -10.0, 8: -100.0}[z] for z in inputs[0].tolist()], dtype=torch.float64)
    assert torch.allclose(model(*inputs), 3.0 * plain + constants, rtol=1e-14)


@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.parametrize("shared_filters", [False, True])
def test_the_shapes_of_weights_are_known_before_a_network_is_made(n_layers, shared_filters):
    config = PaiNNConfig(elements=(1, 6, 8), hidden=10, n_layers=n_layers, n_radial=7, shared_filters=shared_filters)
    made = {name: tuple(tensor.shape) for name, tensor in PaiNN(config).state_dict().items()}
    assert weight_shapes(config) == made


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ({"cutoff": 1e22}, r"cutoff must be at most 50 Å, got 1e\+22"),
        ({"cutoff": float("nan")}, "cutoff must be positive"),
        ({"hidden": 100_000}, "hidden must be at most 4096, got 100000"),
        ({"n_layers": 65}, "n_layers must be at most 64"),
        ({"n_radial": 1025}, "n_radial must be at most 1024"),
    ],
)
def test_sizes_out_of_range_are_refused(size, wanted):
    with pytest.raises(InputError, match=wanted):
        PaiNNConfig(**size)
