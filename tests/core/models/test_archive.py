"""Harmful archives are refused before anything is unpacked."""

import io
import zipfile

import pytest

from mlff_core.errors import InputError
from mlff_core.models.archive import MOST_INFLATED, check_archive


def archive_of(parts, compression=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in parts:
            archive.writestr(name, content)
    return stream


def check(stream, *, may_deflate=True):
    check_archive(stream, len(stream.getvalue()), may_deflate=may_deflate)


def test_parts_as_torch_writes_them_pass():
    check(archive_of([("model/data/0", bytes(1000)), ("model/data.pkl", b"x")]), may_deflate=False)
    check(archive_of([("model/code/a.py", b"def f(): pass\n" * 1000)], zipfile.ZIP_DEFLATED))


def test_what_inflates_is_refused_by_what_it_declares():
    bomb = archive_of([("a", bytes(MOST_INFLATED // 2)), ("b", bytes(MOST_INFLATED // 2 + 1))], zipfile.ZIP_DEFLATED)
    assert len(bomb.getvalue()) < 1e5
    with pytest.raises(InputError, match="declare 67108865 bytes, more than"):
        check(bomb)
    with pytest.raises(InputError, match="'a' is compressed"):
        check(archive_of([("a", b"text")], zipfile.ZIP_DEFLATED), may_deflate=False)


def test_a_size_that_is_not_there_is_refused():
    stream = archive_of([("a", bytes(100))])
    content = bytearray(stream.getvalue())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 20 : entry + 28] = 2 * (10**9).to_bytes(4, "little")
    with pytest.raises(InputError, match="declare 1000000000 bytes"):
        check(io.BytesIO(bytes(content)))


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "model/../../evil", "..\\evil", "C:/evil"])
def test_a_part_outside_is_refused(name):
    stream = archive_of([("model/data/0", b"1"), (name, b"2")])
    with pytest.raises(InputError, match="lies outside"):
        check(stream)


def test_two_parts_of_one_name_and_no_archive_are_refused():
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = archive_of([("a", b"1"), ("a", b"2")])
    with pytest.raises(InputError, match="one name"):
        check(twice)
    with pytest.raises(InputError, match="no whole archive"):
        check(io.BytesIO(b"no archive at all"))
