"""Exported files that were damaged or made to do harm, opened as models and by ``mlff models verify``."""

import io
import json
import random
import shutil
import zipfile

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import mlff_core
from mlff_core.cli.main import build
from mlff_core.errors import CheckpointError, MlffError
from mlff_core.models import registry
from mlff_core.models.sealed import DIGITS, MARK, sealed
from mlff_core.structures.examples import ethanol
from mlff_core.structures.reading import batch_from_atoms

pytest.importorskip("onnxruntime")

STUDENT = "organic-ultra-tiny"
SUFFIXES = (".ts", ".onnx")


@pytest.fixture(params=SUFFIXES)
def file(request, tmp_path):
    path = tmp_path / f"student{request.param}"
    shutil.copy(registry.find_model(STUDENT).path.with_suffix(request.param), path)
    return path


def numbers_of(path):
    found = mlff_core.load(path, device="cpu").predict(batch_from_atoms(ethanol()))
    return torch.cat([found.energy, found.forces.double().flatten()])


def verified(path, status):
    done = CliRunner().invoke(build(), ["models", "verify", str(path), "--json"])
    assert done.exit_code == status, done.output
    return json.loads(done.stdout)[0]["problems"]


def assert_verify_finds_damage(path, place):
    """Verify a whole file, then with one bit of the byte at ``place`` flipped."""
    assert verified(path, 0) == []
    damaged = bytearray(path.read_bytes())
    damaged[place] ^= 4
    path.write_bytes(damaged)
    assert "not what was exported" in verified(path, 1)[0]


def test_a_flipped_bit_is_refused_or_changes_no_number(file):
    # Before files had a digest, 7 of 60 flipped bits gave other numbers in a .ts and 2 of 60 in an .onnx.
    whole, wanted, chance = file.read_bytes(), numbers_of(file), random.Random(0)
    size, n_refused = len(whole), 0
    for k in range(120):
        # Half of them anywhere, half in the last bytes, where the digest is.
        place = chance.randrange(size) if k < 60 else size - 1 - chance.randrange(DIGITS + 40)
        damaged = bytearray(whole)
        damaged[place] ^= 1 << chance.randrange(8)
        file.write_bytes(damaged)
        try:
            found = numbers_of(file)
        except CheckpointError as error:
            assert str(file) in str(error)  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
            n_refused += 1
        else:
            assert torch.equal(found, wanted), place
    assert n_refused == 120, "every byte is under the digest, or is the digest"


def test_verify_looks_at_the_digest(file):
    assert_verify_finds_damage(file, file.stat().st_size // 2)


def test_a_file_for_an_engine_is_verified_too(tmp_path):
    path = tmp_path / "nnp.pt"
    done = CliRunner().invoke(build(), ["export", STUDENT, "--format", "gromacs", "-o", str(path)])
    assert done.exit_code == 0, done.output
    assert_verify_finds_damage(path, path.stat().st_size // 3)


def without_seal(content):
    """Return an exported file as older versions wrote it: without a digest and without its entry in the metadata."""
    if content.startswith(b"PK"):
        stream = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
            for part in old.infolist():
                data = old.read(part)
                if part.filename.endswith("mlff_card.json"):
                    data = json.dumps({k: v for k, v in json.loads(data).items() if k != "digest"}).encode()
                new.writestr(part.filename, data)
        return stream.getvalue()
    onnx = pytest.importorskip("onnx")
    proto = onnx.load_model_from_string(content)
    kept = {entry.key: entry.value for entry in proto.metadata_props if entry.key not in ("digest", MARK.decode())}
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, kept)
    return proto.SerializeToString()


def test_a_file_of_an_older_version_opens_with_a_warning(file):
    wanted = numbers_of(file)
    file.write_bytes(without_seal(file.read_bytes()))
    with pytest.warns(UserWarning, match="has no digest"):
        assert torch.equal(numbers_of(file), wanted)
    assert "has no digest" in verified(file, 1)[0]


def onnx_with_data_outside(path):
    onnx = pytest.importorskip("onnx")
    from onnx.external_data_helper import convert_model_to_external_data

    proto = onnx.load(path)
    convert_model_to_external_data(proto, location="weights.bin", size_threshold=100)
    onnx.save(proto, path)
    assert (path.parent / "weights.bin").is_file()
    return proto


def test_an_onnx_file_that_reads_another_file_is_refused_though_its_digest_is_right(tmp_path):
    from mlff_plugins.onnx.file import _with_digest

    path = tmp_path / "student.onnx"
    shutil.copy(registry.find_model(STUDENT).path.with_suffix(".onnx"), path)
    onnx_with_data_outside(path)
    path.write_bytes(_with_digest(path.read_bytes()))
    with pytest.raises(CheckpointError, match="takes numbers from another file"):
        mlff_core.load(path, device="cpu")
    assert "another file" in verified(path, 1)[0]


@pytest.mark.parametrize("place", ["a constant node", "a graph inside a node", "a function"])
def test_data_outside_are_found_wherever_they_stand(place):
    onnx = pytest.importorskip("onnx")
    from mlff_core.errors import InputError
    from mlff_plugins.onnx.external_data import check_self_contained

    tensor = onnx.numpy_helper.from_array(np.ones(3, dtype=np.float32), "inside")
    outside = onnx.TensorProto()
    outside.CopyFrom(tensor)
    outside.data_location = onnx.TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="/etc/passwd")

    def model_with(value):
        node = onnx.helper.make_node("Constant", [], ["y"], value=value)
        nodes, functions = [node], []
        if place == "a graph inside a node":
            branch = onnx.helper.make_graph([node], "branch", [], [])
            nodes = [onnx.helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)]
        elif place == "a function":
            opsets = [onnx.helper.make_opsetid("", 18)]
            functions = [onnx.helper.make_function("own", "F", [], ["y"], [node], opsets)]
            nodes = [onnx.helper.make_node("F", [], ["y"], domain="own")]
        return onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], []), functions=functions)

    check_self_contained(model_with(tensor).SerializeToString())
    with pytest.raises(InputError, match="another file"):
        check_self_contained(model_with(outside).SerializeToString())


@pytest.mark.parametrize("harm", ["a part outside", "a bomb"])
def test_a_harmful_archive_is_refused_though_its_digest_is_right(tmp_path, harm):
    path = tmp_path / "student.ts"
    shutil.copy(registry.find_model(STUDENT).path.with_suffix(".ts"), path)
    content = without_seal(path.read_bytes())
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as archive:
        name = "../../evil" if harm == "a part outside" else "student/data/999"
        archive.writestr(name, bytes(100 * 2**20) if harm == "a bomb" else b"evil")
    content = stream.getvalue()
    comment = MARK + b":"
    path.write_bytes(sealed(content[:-2] + (len(comment) + DIGITS).to_bytes(2, "little") + comment))
    with pytest.raises(MlffError, match="lies outside of it" if harm == "a part outside" else "parts declare"):
        mlff_core.load(path, device="cpu")
