"""The model file: a model is read as it was written, other files are refused, old versions can still be read.

Over 300 lines, in one file because its tests share the parts of one model file.
"""

import io
import math
import os
import pickle
import random
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from mlff_core import CheckpointError, InputError, ModelCard, StudentPotential, UnsupportedError, single
from mlff_core.model.architectures import TERMS
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.model.zbl import ZBLRepulsion
from mlff_core.models.checkpoint import FORMAT_VERSION, _digest, load_checkpoint, save_checkpoint
from mlff_core.models.opening import load

FORMATS = Path(__file__).parent / "data_files"
CONFIG = PaiNNConfig(elements=(1, 6, 8), hidden=8, n_layers=2, n_radial=6, cutoff=4.0)


def small_model(seed=0):
    torch.manual_seed(seed)
    model = PaiNN(CONFIG)
    model.reference_energies.copy_(torch.tensor([-13.587222780835477, -1029.4893, -2042.0330123456]))
    return model


CARD = ModelCard("drop", CONFIG.elements, CONFIG.cutoff, metrics={"force_mae": 0.125}, limits=("no ions",))


@pytest.fixture
def file(tmp_path):
    return save_checkpoint(tmp_path / "drop.pt", small_model(), CARD)


def rewrite(path, **changed):
    """Change entries of the file, as someone with torch could."""
    torch.save(torch.load(path, weights_only=True) | changed, path)


def refused(path, message=None):
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value), "advice of torch to load the file unchecked"
    assert str(path) in str(caught.value)


# What is written comes back


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_model_comes_back_in_the_precision_it_was_saved_in(tmp_path, dtype):
    model = small_model().to(dtype)
    loaded, card = load_checkpoint(save_checkpoint(tmp_path / "model.pt", model, CARD))
    assert card == CARD
    assert loaded.config == CONFIG
    assert loaded.embedding.weight.dtype == dtype
    assert loaded.reference_energies.dtype == torch.float64
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    assert not loaded.training


def test_device_and_precision_are_the_loaders_choice(file):
    assert load(file).dtype == torch.float32
    potential = load(file, device="cpu", dtype="float64")
    assert (potential.dtype, potential.device) == (torch.float64, torch.device("cpu"))
    for wrong in ({"dtype": "float16"}, {"device": "abacus"}, {"device": "cuda:99"}, {"kernel": "abacus"}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            load(file, **wrong)


def test_a_model_cast_to_float64_equals_one_loaded_in_float64(file):
    batch = single([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [8, 1, 1], dtype=torch.float64)
    cast = StudentPotential(small_model(), CARD, dtype=torch.float64)
    loaded = load(file, device="cpu", dtype="float64")
    assert torch.equal(cast.predict(batch).energy, loaded.predict(batch).energy)
    assert torch.equal(cast.predict(batch).forces, loaded.predict(batch).forces)


def test_saving_and_loading_leave_the_random_numbers_alone(tmp_path):
    torch.manual_seed(0)
    wanted = torch.rand(1)
    model = small_model()
    torch.manual_seed(0)
    load_checkpoint(save_checkpoint(tmp_path / "model.pt", model, CARD))
    assert torch.equal(torch.rand(1), wanted)


def test_the_folder_is_made_and_nothing_else_is_left_in_it(tmp_path):
    path = save_checkpoint(tmp_path / "a" / "b" / "model.pt", small_model(), CARD)
    assert [p.name for p in path.parent.iterdir()] == ["model.pt"]


def test_a_save_that_fails_leaves_the_old_file(file, monkeypatch):
    before = file.read_bytes()

    def full_disk(content, stream):
        stream.write(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(file, small_model(1), CARD)
    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (ModelCard("drop", (1, 8), 4.0), "elements"),
        (ModelCard("drop", CONFIG.elements, 5.0), "cutoff"),
        (ModelCard("drop", CONFIG.elements, 4.0, training={"f": print}), "JSON"),
    ],
)
def test_a_card_that_is_not_the_models_is_not_saved(tmp_path, card, message):
    with pytest.raises(InputError, match=message):
        save_checkpoint(tmp_path / "model.pt", small_model(), card)
    assert not list(tmp_path.iterdir())


def test_a_diverged_model_is_not_saved(tmp_path):
    model = small_model()
    model.readout[0].weight.data[0, 0] = float("nan")
    with pytest.raises(InputError, match=r"readout\.0\.weight hold NaN"):
        save_checkpoint(tmp_path / "model.pt", model, CARD)


# Old formats


def assert_water(potential, hydrogens, energy, forces):
    """Compare a water molecule with O at the origin with numbers that were stored with the file, eV and eV/Å."""
    water = single([[0, 0, 0], *hydrogens], [8, 1, 1], dtype=torch.float64)
    prediction = potential.predict(water)
    assert float(prediction.energy) == pytest.approx(energy, abs=1e-9)
    assert torch.allclose(prediction.forces, torch.tensor(forces, dtype=torch.float64), rtol=0, atol=1e-9)


def test_format_1_still_loads_with_the_same_numbers():
    # By the reference: the numbers are compared to more digits than a table of filters has.
    potential = load(FORMATS / "format_v1.pt", device="cpu", dtype="float64", kernel="reference")
    assert potential.card.symbols == ("H", "C", "N", "O")
    assert potential.card.metrics == {"force_mae": 0.5}
    forces = [
        [-2.157261100056882, -2.241146978726099, -0.24098354609958056],
        [1.8925515600146947, 0.6533792892779151, 0.07025583755676507],
        [0.2647095400421875, 1.587767689448184, 0.1707277085428155],
    ]
    assert_water(potential, [[0.96, 0, 0], [-0.24, 0.93, 0.1]], -2067.0707550957186, forces)
    cell = [[2.4, 0.1, -0.2], [-0.5, 2.6, 0.3], [0.3, 0.6, 2.8]]
    crystal = single([[0.3, 0.6, 0.1], [1.2, 2.1, 2.0]], [6, 7], cell, True, dtype=torch.float64)
    prediction = potential.predict(crystal, want=("energy", "stress"))
    assert float(prediction.energy) == pytest.approx(-2511.7229815852857, abs=1e-9)
    stress = [
        [0.08866169300424301, 0.10468858034955367, -0.01807393008567998],
        [0.10468858034955367, 0.025920176216398586, -0.1268444408671265],
        [-0.01807393008567998, -0.1268444408671265, -0.11639675345784825],
    ]
    assert torch.allclose(prediction.stress[0], torch.tensor(stress, dtype=torch.float64), rtol=0, atol=1e-10)


def test_format_2_still_loads_with_the_same_numbers():
    # Version 2 knows the core: O and H are inside theirs here.
    potential = load(FORMATS / "format_v2.pt", device="cpu", dtype="float64", kernel="reference")
    assert potential.model.core == 0.7
    forces = [
        [-75.98728142592998, -17.53881478783714, -2.1923518484796425],
        [80.30050223718412, 0.8525156180647205, 0.10656445225809007],
        [-4.31322081125414, 16.68629916977242, 2.0857873962215523],
    ]
    assert_water(potential, [[0.65, 0, 0], [-0.24, 0.8, 0.1]], -2057.672451027334, forces)


def test_format_3_still_loads_with_the_same_numbers():
    # Version 3 knows bounds of the learned energy, which every atom exceeds here, and a readout of charges.
    potential = load(FORMATS / "format_v3.pt", device="cpu", dtype="float64", kernel="reference")
    forces = [
        [-75.91156894941436, -17.483121103085864, -2.185390137885733],
        [80.32322966660102, 0.7490117876306435, 0.09362647345383043],
        [-4.411660717186669, 16.73410931545522, 2.0917636644319026],
    ]
    hydrogens = [[0.65, 0, 0], [-0.24, 0.8, 0.1]]
    assert_water(potential, hydrogens, -2057.6970609978766, forces)
    water = single([[0, 0, 0], *hydrogens], [8, 1, 1], dtype=torch.float64)
    # The first was -3.0252996185850645 when the format was made; beyond ±2 e charges are bounded now.
    charges = [-2.0 - math.tanh(1.0252996185850645), 0.4243575574560435, 0.7367318559459145]
    assert potential.predict(water, want=("charges",)).charges.tolist() == pytest.approx(charges, abs=1e-12)


def test_a_network_of_format_1_has_no_core():
    assert load(FORMATS / "format_v1.pt", device="cpu").model.core == 0


def test_a_file_of_every_format_version_is_kept():
    assert {path.name for path in FORMATS.glob("format_v*.pt")} >= {
        f"format_v{n + 1}.pt" for n in range(FORMAT_VERSION)
    }


# What is refused


def test_a_truncated_file_is_refused(file):
    whole = file.read_bytes()
    for length in [0, 1, 10, *range(50, len(whole), 977), len(whole) - 1]:
        file.write_bytes(whole[:length])
        refused(file)


def test_a_changed_bit_is_refused_or_changes_nothing(file):
    whole, state = file.read_bytes(), small_model().state_dict()
    chance, n_refused = random.Random(0), 0
    for position in chance.sample(range(len(whole)), 250):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << chance.randrange(8)
        file.write_bytes(damaged)
        try:
            model, card = load_checkpoint(file)
        except CheckpointError:
            n_refused += 1
            continue
        assert card == CARD
        assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert n_refused > 100


class Canary:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("way", ["pickle", "torch.save", "old torch.save", "in the card", "in the weights"])
def test_code_in_a_file_is_not_run(tmp_path, file, way):
    canary, path = tmp_path / "canary", tmp_path / "evil.pt"
    pickle.loads(pickle.dumps(Canary(canary)))
    assert canary.exists(), "the trap does not work"
    canary.unlink()
    content = torch.load(file, weights_only=True)
    if way == "pickle":
        path.write_bytes(pickle.dumps(content | {"card": Canary(canary)}))
    elif way == "torch.save":
        torch.save(Canary(canary), path)
    elif way == "old torch.save":
        torch.save(Canary(canary), path, _use_new_zipfile_serialization=False)
    else:
        key = "card" if way == "in the card" else "state_dict"
        torch.save(content | {key: content[key] | {"extra": Canary(canary)}}, path)
    refused(path, "nothing in it was run")
    assert not canary.exists()


def foreign_files(folder):
    """Yield files that are not ours."""
    model = small_model()
    for name, content in {
        "empty": b"", "random": random.Random(1).randbytes(4000), "text": b"H 0 0 0\n" * 40, "zeros": bytes(4096),
        "plain_pickle": pickle.dumps({"format": "mlff-model"}),
    }.items():  # fmt: skip
        path = folder / name
        path.write_bytes(content)
        yield path
    torch.jit.script(model).save(folder / "torchscript")
    yield folder / "torchscript"
    for name, content in {
        "tensor": torch.ones(3), "list": [1, 2], "other_dict": {"model": torch.ones(3)},
        "state_dict": model.state_dict(), "module": model, "other_format": {"format": "mlff-data", "format_version": 1},
    }.items():  # fmt: skip
        torch.save(content, folder / name)
        yield folder / name
    with zipfile.ZipFile(folder / "zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    yield folder / "zip"


def test_a_foreign_file_is_refused(tmp_path):
    for path in foreign_files(tmp_path):
        refused(path)


def test_a_path_that_is_not_a_file_is_refused(tmp_path):
    refused(tmp_path / "absent.pt", "no file")
    refused(tmp_path, "folder")


@pytest.mark.skipif(os.name == "nt" or os.getuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(file):
    file.chmod(0)
    refused(file, "permission")


def without(content, *keys):
    return {key: value for key, value in content.items() if key not in keys}


def test_the_error_for_a_newer_format_asks_for_an_update(file):
    rewrite(file, format_version=FORMAT_VERSION + 1, surprise=[1, 2, 3])
    refused(file, f"format version {FORMAT_VERSION + 1}.*update")


@pytest.mark.parametrize("version", [0, -1, "1", 1.0, True, None])
def test_a_format_version_that_is_none_is_damage(file, version):
    rewrite(file, format_version=version)
    refused(file, "damaged")


def test_another_architecture_is_named(file):
    rewrite(file, architecture="Transformer")
    refused(file, "Transformer")


@pytest.mark.parametrize("key", ["config", "state_dict", "card", "digest"])
@pytest.mark.parametrize("wrong", [None, 3, "text", [], {}, {"a": 1}], ids=str)
def test_a_part_that_is_something_else_is_damage(file, key, wrong):
    rewrite(file, **{key: wrong})
    refused(file, "damaged")


@pytest.mark.parametrize("key", ["config", "state_dict", "card", "digest"])
def test_a_part_that_is_missing_is_damage(file, key):
    torch.save(without(torch.load(file, weights_only=True), key), file)
    refused(file, f"lacks '{key}'")


def sealed(file, **changed):
    """Change entries and make the digest fit, as another careless program might."""
    from mlff_core.models.checkpoint import _digest

    content = torch.load(file, weights_only=True) | changed
    torch.save(content | {"digest": _digest(content)}, file)


@pytest.mark.parametrize(
    ("part", "changed", "message"),
    [
        ("config", {"hidden": 4096}, "config and weights disagree"),
        ("config", {"n_layers": 64}, "config and weights disagree"),
        ("config", {"n_radial": 1024}, "config and weights disagree"),
        ("config", {"hidden": 100_000}, "hidden must be at most 4096, got 100000"),
        ("config", {"n_layers": 10**9}, "n_layers must be at most 64, got 1000000000"),
        ("config", {"n_radial": 10**9}, "n_radial must be at most 1024, got 1000000000"),
        ("config", {"cutoff": 1e22}, r"cutoff must be at most 50 Å, got 1e\+22"),
        ("config", {"elements": [1, 6]}, "config and weights disagree"),
        ("config", {"elements": ["H", "C", "O"]}, "damaged"),
        ("config", {"flavour": "up"}, "flavour"),
        ("config", {"shared_filters": "no"}, "shared_filters must be true or false, got 'no'"),
        ("config", {"n_layers": True}, "n_layers must be a whole number"),
        ("card", {"cutoff": 9.0}, "disagree on elements or cutoff"),
        ("card", {"elements": [1, 6, 7]}, "disagree on elements or cutoff"),
        ("card", {"units": {"length": "nm", "energy": "kJ/mol"}}, "units"),
        ("card", {"flavour": "up"}, "flavour"),
        ("state_dict", {"scale": torch.tensor(float("nan"))}, "scale hold NaN"),
        ("state_dict", {"readout.0.bias": torch.full((4,), float("inf"))}, r"readout\.0\.bias hold NaN or inf"),
        ("state_dict", {"readout.0.bias": torch.zeros(5)}, "readout.0.bias|damaged"),
        ("state_dict", {"embedding.weight": torch.zeros(3, 8, dtype=torch.int64)}, "int64"),
        ("state_dict", {"surprise": torch.zeros(1)}, "damaged"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(file, part, changed, message):
    content = torch.load(file, weights_only=True)
    sealed(file, **{part: content[part] | changed})
    refused(file, message)


def peak_of_opening(path):
    """Return the memory that opening a file takes in a process of its own, bytes, beyond that of opening a good one."""
    script = (
        "import resource, sys\n"
        "from mlff_core.errors import CheckpointError\n"
        "from mlff_core.models.checkpoint import load_checkpoint\n"
        "load_checkpoint(sys.argv[1])\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for path in sys.argv[2:]:\n"
        "    try:\n"
        "        load_checkpoint(path)\n"
        "    except CheckpointError as error:\n"
        "        print(error)\n"
        "    else:\n"
        "        print('opened')\n"
        "print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, path)], capture_output=True, text=True, check=True, timeout=120
    )
    *lines, peak = done.stdout.splitlines()
    return lines, int(peak)


def bombs(file, folder):
    """Yield small files that would take gigabytes, each with a part of the error message."""
    content = torch.load(file, weights_only=True)
    state, card = content["state_dict"], content["card"]

    def saved(name, **changed):
        torch.save(content | changed | {"digest": "0" * 64}, folder / name)
        return folder / name

    # One number repeated over a matrix: 40,000 x 40,000 in float32 are 6.4 GB.
    yield saved("stride.pt", state_dict=state | {"scale": torch.ones(1).expand(40_000, 40_000)}), "weights declare"
    # A network of 4096 channels behind an embedding that is whole.
    wide = content["config"] | {"hidden": 4096}
    rows = {"embedding.weight": torch.zeros(3, 4096)}
    path = saved("hidden.pt", config=wide, state_dict=state | rows)
    sealed(path)
    yield path, "config and weights disagree: "
    # A string that the pickle holds once and refers to 65,000 times.
    text = "x" * 90_000
    yield saved("text.pt", card=card | {"limits": [text] * 65_000}), "more than 1048576 characters"
    nested = ["x"] * 10
    for _ in range(12):
        nested = [nested] * 10
    yield saved("nested.pt", card=card | {"limits": nested}), "more than 1048576 characters"
    # Zeros deflate to a thousandth.
    plain = saved("plain.pt", state_dict=state | {"scale": torch.zeros(8_000_000)})
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(folder / "deflated.pt", "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.infolist():
            new.writestr(part.filename, old.read(part))
    plain.unlink()
    yield folder / "deflated.pt", "compressed"
    torch.save(content, folder / "old.pt", _use_new_zipfile_serialization=False)
    yield folder / "old.pt", "nothing in it was run"


@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
def test_a_small_file_takes_little_memory(file, tmp_path):
    # A file of 99 kB took 6.4 GB.
    paths, messages = zip(*bombs(file, tmp_path), strict=True)
    assert all(path.stat().st_size < 2e6 for path in paths)
    lines, peak = peak_of_opening([file, *paths])
    for line, message in zip(lines, messages, strict=True):
        assert message in line
    assert peak < 200e6


def test_weights_of_another_shape_are_damage_not_a_crash(file):
    content = torch.load(file, weights_only=True)
    sealed(file, state_dict={**content["state_dict"], "filters.0.weight": torch.zeros(3)})
    refused(file, "damaged")


def test_a_file_is_read_from_any_path(file, tmp_path):
    odd = tmp_path / "a name with spaces and ü.model"
    shutil.copy(file, odd)
    assert load_checkpoint(str(odd))[1] == CARD


def test_a_model_saved_elsewhere_in_memory_is_the_same_file(file):
    model, card = load_checkpoint(file)
    stream = io.BytesIO(file.read_bytes())
    assert torch.load(stream, weights_only=True)["card"] == card.to_dict()
    again = save_checkpoint(file.with_name("again.pt"), model, card)
    first, second = (torch.load(path, weights_only=True)["digest"] for path in (file, again))
    assert first == second


# Terms of the energy


@pytest.fixture
def extended(make_attraction):
    torch.manual_seed(0)
    return PaiNN(CONFIG, [ZBLRepulsion.make(CONFIG), make_attraction(CONFIG, 7.0)])


LONGER = ModelCard("longer", CONFIG.elements, 7.0)


def test_terms_come_back_with_their_weights_and_reach(extended, tmp_path, monkeypatch):
    monkeypatch.setitem(TERMS, "attraction", type(extended.terms["attraction"]))
    with torch.no_grad():
        extended.terms["attraction"].depth.fill_(0.875)
    loaded, card = load_checkpoint(save_checkpoint(tmp_path / "model.pt", extended, LONGER))
    assert (list(loaded.terms), loaded.cutoff, card) == (["zbl", "attraction"], 7.0, LONGER)
    assert float(loaded.terms["attraction"].depth.detach()) == 0.875


def test_a_term_without_a_name_in_the_table_is_not_saved(extended, tmp_path):
    with pytest.raises(UnsupportedError, match=r"term 'attraction' \(Attraction\) cannot be saved"):
        save_checkpoint(tmp_path / "model.pt", extended, LONGER)


def test_a_file_with_a_term_this_version_lacks_names_it(extended, tmp_path, monkeypatch):
    with monkeypatch.context() as here:
        here.setitem(TERMS, "attraction", type(extended.terms["attraction"]))
        path = save_checkpoint(tmp_path / "model.pt", extended, LONGER)
    refused(path, "term 'attraction'; this version knows zbl; update")
    # A version before there were terms looks at the architecture's name, and must not open it without the term.
    assert torch.load(path, weights_only=True)["architecture"] != "PaiNN"


def test_a_plain_model_file_lists_no_terms(file):
    assert list(torch.load(file, weights_only=True)) == [
        *("format", "format_version", "architecture", "config", "state_dict", "card", "digest")
    ]


@pytest.mark.parametrize("wrong", [3, "text", [3], [{}], [{"name": "zbl", "surprise": 1}]], ids=str)
def test_a_damaged_list_of_terms_is_refused(file, wrong):
    content = torch.load(file, weights_only=True)
    content["terms"] = wrong
    content["digest"] = _digest(content)
    torch.save(content, file)
    refused(file, "damaged")
