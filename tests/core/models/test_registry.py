"""Names of models."""

import json
import multiprocessing
import sys

import pytest
import torch

from mlff_core import CheckpointError, InputError, ModelCard
from mlff_core.model.painn import PaiNN, PaiNNConfig, count_parameters
from mlff_core.models import registry
from mlff_core.models.checkpoint import file_sha256, save_checkpoint
from mlff_core.models.opening import load

CONFIG = PaiNNConfig(elements=(1, 8), hidden=8, n_layers=1, n_radial=4)


def write(path, name="drop", seed=0, **card):
    torch.manual_seed(seed)
    return save_checkpoint(path, PaiNN(CONFIG), ModelCard(name, CONFIG.elements, CONFIG.cutoff, **card))


def write_index(folder, *rows):
    (folder / "index.json").write_text(json.dumps({"models": list(rows)}))


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """A shipped folder with one model, a user folder that is not there yet, and an empty working folder."""
    shipped, user, work = tmp_path / "shipped", tmp_path / "data" / "user", tmp_path / "work"
    work.mkdir()
    whole = {"licence": "MIT", "teacher": {"name": "t"}, "dataset": {"name": "d"}, "metrics": {"m": 1}}
    path = write(shipped / "tiny-1.0.pt", "tiny", **whole)
    write_index(shipped, {"name": "tiny", "file": "tiny-1.0.pt", "sha256": file_sha256(path)})
    monkeypatch.setattr(registry, "SHIPPED_FOLDER", shipped)
    monkeypatch.setenv("MLFF_MODELS_DIR", str(user))
    monkeypatch.chdir(work)
    return shipped, user, work


def test_a_shipped_name_opens_its_file(folders):
    assert registry.resolve("tiny") == folders[0] / "tiny-1.0.pt"
    assert load("tiny", device="cpu").card.name == "tiny"


def test_looking_up_names_makes_no_folder(folders):
    registry.registered_models()
    with pytest.raises(CheckpointError):
        registry.resolve("absent")
    assert not folders[1].exists()


def test_an_unknown_name_gives_the_nearest():
    with pytest.raises(CheckpointError, match="did you mean 'tiny'"):
        registry.resolve("tinny")
    with pytest.raises(CheckpointError, match="names are: tiny"):
        registry.resolve("quite-different")


@pytest.mark.parametrize("path", ["absent.pt", "./tiny", "folder/tiny", "../tiny", "~tiny"])
def test_what_is_written_like_a_path_is_a_path(path):
    with pytest.raises(CheckpointError, match="there is no file"):
        registry.resolve(path)


def test_a_file_that_exists_wins_over_a_name_and_a_folder_does_not(folders):
    (folders[2] / "tiny").mkdir()
    assert registry.resolve("tiny") == folders[0] / "tiny-1.0.pt"
    (folders[2] / "tiny").rmdir()
    write(folders[2] / "tiny", "mine")
    assert load("tiny", device="cpu").card.name == "mine"


def test_a_file_that_changed_since_it_was_registered_is_refused(folders):
    write(folders[0] / "tiny-1.0.pt", "tiny", seed=1)
    with pytest.raises(CheckpointError, match=r"'tiny' has changed: wanted SHA-256.*install"):
        load("tiny")
    (folders[0] / "tiny-1.0.pt").unlink()
    with pytest.raises(CheckpointError, match="'tiny' is missing"):
        load("tiny")


def test_a_model_that_was_added_has_a_name_until_it_is_removed(folders):
    path = write(folders[2] / "model.pt")
    added = registry.add_model(path)
    assert (added.name, added.origin, added.path.parent) == ("drop", "user", folders[1])
    path.unlink()
    assert load("drop", device="cpu").card.name == "drop"
    assert [model.name for model in registry.registered_models()] == ["tiny", "drop"]
    other = registry.add_model(write(folders[2] / "model.pt", seed=1), "drop-1.5")
    assert registry.resolve("drop-1.5") == other.path
    assert sorted(p.name for p in folders[1].iterdir()) == ["drop-1.5.pt", "drop.pt", "index.json"]
    registry.remove_model("drop")
    with pytest.raises(CheckpointError, match=r"did you mean 'drop-1\.5'"):
        registry.resolve("drop")
    assert sorted(p.name for p in folders[1].iterdir()) == ["drop-1.5.pt", "index.json"]


@pytest.mark.parametrize("name", ["", "../evil", "a/b", ".hidden", "model.pt", "a b", "-x"])
def test_a_name_that_could_be_a_path_is_refused(folders, name):
    path = write(folders[2] / "model.pt")
    with pytest.raises(InputError, match="name is made of"):
        registry.add_model(path, name)
    assert not folders[1].exists()


def test_a_taken_name_is_refused(folders):
    path = write(folders[2] / "model.pt")
    registry.add_model(path)
    for name, origin in (("tiny", "shipped"), ("drop", "user")):
        with pytest.raises(InputError, match=f"taken by a {origin} model"):
            registry.add_model(path, name)


def test_what_is_no_model_is_not_added(folders):
    (folders[2] / "text.pt").write_text("no model")
    with pytest.raises(CheckpointError):
        registry.add_model(folders[2] / "text.pt")
    assert not folders[1].exists()


def test_a_shipped_model_is_not_removed(folders):
    with pytest.raises(InputError, match="shipped"):
        registry.remove_model("tiny")
    assert (folders[0] / "tiny-1.0.pt").exists()


def test_a_shipped_name_means_the_same_for_every_user(folders):
    path = write(folders[1] / "tiny.pt", "mine")
    write_index(folders[1], {"name": "tiny", "file": "tiny.pt", "sha256": file_sha256(path)})
    assert registry.resolve("tiny") == folders[0] / "tiny-1.0.pt"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"models": 3}', '{"models": [{"name": "x"}]}', "{",
     '{"models": [{"name": "x", "file": "../../x.pt", "sha256": ""}]}'],
)  # fmt: skip
def test_a_damaged_index_is_reported_and_a_path_still_opens(folders, text):
    path = write(folders[2] / "model.pt")
    folders[1].mkdir(parents=True)
    (folders[1] / "index.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"index .*index.json is damaged"):
        registry.resolve("tiny")
    assert load(path, device="cpu").card.name == "drop"


def test_verification_finds_what_is_wrong(folders):
    shipped = registry.find_model("tiny")
    assert registry.verify_model(shipped) == []
    added = registry.add_model(write(folders[2] / "model.pt", n_parameters=3))
    counted = count_parameters(PaiNN(CONFIG))
    assert registry.verify_model(added) == [f"the card says 3 parameters, the model has {counted}"]
    added.path.write_bytes(added.path.read_bytes()[:100])
    assert "has changed" in registry.verify_model(added)[0]
    path = write(shipped.path, "tiny", seed=2)
    write_index(folders[0], {"name": "tiny", "file": path.name, "sha256": file_sha256(path)})
    assert registry.verify_model(registry.find_model("tiny")) == [
        f"the card lacks {key}" for key in ("licence", "teacher", "dataset", "metrics")
    ]


def test_files_of_other_formats_are_verified_with_their_model(folders):
    shipped = registry.find_model("tiny")
    export = folders[0] / "tiny-1.0.onnx"
    export.write_bytes(b"graph")
    row = {"name": "tiny", "file": shipped.path.name, "sha256": shipped.sha256}
    write_index(folders[0], row | {"exports": [{"file": export.name, "sha256": file_sha256(export)}]})
    assert registry.verify_model(registry.find_model("tiny")) == []
    export.write_bytes(b"another")
    assert "tiny-1.0.onnx of model 'tiny' has changed" in registry.verify_model(registry.find_model("tiny"))[0]
    export.unlink()
    assert "tiny-1.0.onnx of model 'tiny' is missing" in registry.verify_model(registry.find_model("tiny"))[0]
    write_index(folders[0], row | {"exports": [{"file": "../tiny.onnx", "sha256": "0"}]})
    with pytest.raises(CheckpointError, match="is outside its folder"):
        registry.find_model("tiny")


@pytest.mark.parametrize(
    ("platform", "environment", "wanted"),
    [
        ("linux", {"XDG_DATA_HOME": "/x"}, "/x/mlff-hub/models"),
        ("linux", {}, "/home/me/.local/share/mlff-hub/models"),
        ("darwin", {}, "/home/me/Library/Application Support/mlff-hub/models"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/mlff-hub/models"),
        ("linux", {"MLFF_MODELS_DIR": "/mine"}, "/mine"),
    ],
)
def test_the_users_folder_is_where_the_platform_keeps_data(monkeypatch, platform, environment, wanted):
    for name in ("MLFF_MODELS_DIR", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (environment | {"HOME": "/home/me"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert registry.user_folder().as_posix() == wanted


def test_the_models_that_are_shipped_are_whole(monkeypatch):
    monkeypatch.undo()
    for model in registry.registered_models():
        if model.origin == "shipped":
            assert registry.verify_model(model) == []


def _add(path, name, results):
    results.put(registry.add_model(path, name).name)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_models_added_at_once_are_all_there(folders):
    path = write(folders[2] / "drop.pt")
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    processes = [fork.Process(target=_add, args=(path, f"drop-{k}", results)) for k in range(6)]
    for process in processes:
        process.start()
    added = sorted(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    assert added == [f"drop-{k}" for k in range(6)]
    assert sorted(model.name for model in registry.registered_models() if model.origin == "user") == added
