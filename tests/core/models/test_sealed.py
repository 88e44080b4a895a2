"""The digest at the end of exported files."""

import io
import random
import zipfile

import pytest

from mlff_core.errors import CheckpointError
from mlff_core.models.sealed import MARK, check_seal, seal_archive, sealed


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "model.ts"
    with zipfile.ZipFile(path, "w") as parts:
        parts.writestr("model/data/0", random.Random(0).randbytes(500))
    seal_archive(path)
    return path


def test_a_sealed_archive_opens_as_before_and_its_digest_is_right(archive):
    content = archive.read_bytes()
    assert check_seal(archive, content)
    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        assert parts.namelist() == ["model/data/0"]
        assert parts.testzip() is None
        assert parts.comment.startswith(MARK)


def test_any_changed_bit_is_seen_and_a_changed_mark_is_no_seal(archive):
    content = archive.read_bytes()
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            assert not check_seal(archive, bytes(changed))
        except CheckpointError as error:
            assert str(archive) in str(error)  # noqa: PT017
            continue
        assert len(content) - bit // 8 <= 64 + len(MARK) + 1, "only the seal itself can be missed"


def test_a_seal_is_set_once_and_on_archives_only(archive, tmp_path):
    before = archive.read_bytes()
    seal_archive(archive)
    assert archive.read_bytes() == before
    other = tmp_path / "model.bin"
    other.write_bytes(b"some other format")
    seal_archive(other)
    assert other.read_bytes() == b"some other format"
    assert not check_seal(other, other.read_bytes())


def test_a_seal_is_of_all_bytes_before_it(tmp_path):
    content = sealed(b"anything " + MARK + b":")
    assert check_seal(tmp_path, content)
    for other in (content[:-1], b"x" + content, content.replace(b"any", b"ANY")):
        with_seal = other if other[-64:] == content[-64:] else None
        if with_seal is None:
            assert not check_seal(tmp_path, other)
        else:
            with pytest.raises(CheckpointError, match="not what was exported"):
                check_seal(tmp_path, other)
