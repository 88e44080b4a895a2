"""How the CPU kernel's library is found and built, and what happens without it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading

import pytest

from mlff_core.kernels import build
from mlff_core.kernels.choose import choose_kernel
from mlff_core.model.painn import PaiNNConfig

SMALL = PaiNNConfig(hidden=8, n_radial=4)

CHOOSE = """
import logging
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
from mlff_core.kernels import build
build.INSTALLED = build.Path("/nonexistent")
from mlff_core.kernels.choose import choose_kernel
from mlff_core.model.painn import PaiNN, PaiNNConfig
model = PaiNN(PaiNNConfig(hidden=8, n_radial=4)).eval().requires_grad_(False)
for _ in range(2):
    print(choose_kernel(model).name)
"""


def run(folder, **environment):
    """Choose a kernel twice in a process of its own."""
    clean = {name: value for name, value in os.environ.items() if name not in ("CXX", "MLFF_KERNEL")}
    return subprocess.run(
        [sys.executable, "-c", CHOOSE],
        env={**clean, "MLFF_CACHE_DIR": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """An empty cache folder, no installed library, no compiler, and the library that would be found otherwise."""
    library = build.load_library()._name
    monkeypatch.setenv("MLFF_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("MLFF_KERNEL", raising=False)
    monkeypatch.setattr(build, "INSTALLED", tmp_path / "installed")
    return tmp_path, library


def test_without_a_compiler_the_reference_is_used_and_the_log_says_why(tmp_path):
    done = run(tmp_path, PATH="")
    assert done.stdout.split() == ["reference", "reference"], done.stderr
    assert done.stderr.count("WARNING the reference kernel is used") == 1
    assert "no C++ compiler was found" in done.stderr
    assert "apt install g++" in done.stderr


def test_a_compiler_that_fails_leads_to_the_reference(bare, make_model, monkeypatch):
    folder, _ = bare
    monkeypatch.setenv("CXX", "/bin/false")
    assert choose_kernel(make_model(SMALL)).name == "reference"
    assert [path.suffix for path in folder.iterdir()] == [".lock"]
    with pytest.raises(build.BuildError, match="/bin/false failed"):
        build.load_library()


def test_a_kernel_asked_for_by_name_is_not_replaced(bare, make_model):
    with pytest.raises(build.BuildError, match="no C\\+\\+ compiler was found"):
        choose_kernel(make_model(SMALL), "cpu")


def test_a_library_of_other_sources_is_not_used(bare):
    folder, library = bare
    shutil.copy(library, folder / "mlff_cpu-0123456789abcdef-01234567.so")
    with pytest.raises(build.BuildError, match="no C\\+\\+ compiler"):
        build.load_library()


def test_a_cached_library_needs_no_compiler_any_more(bare, make_model):
    folder, library = bare
    shutil.copy(library, folder / f"mlff_cpu-{build.source_hash()}-01234567.so")
    assert choose_kernel(make_model(SMALL)).name == "cpu"


def test_an_installed_library_is_taken_first(bare):
    _, library = bare
    build.INSTALLED.mkdir()
    shutil.copy(library, build.installed_library())
    assert build.load_library()._name == str(build.installed_library())


def test_a_damaged_library_is_not_used(bare):
    folder, _ = bare
    (folder / f"mlff_cpu-{build.source_hash()}-01234567.so").write_bytes(b"not a library")
    with pytest.raises(build.BuildError, match="no C\\+\\+ compiler"):
        build.load_library()


def test_the_hash_changes_with_every_source_and_flag(tmp_path, monkeypatch):
    before = build.source_hash()
    copied = shutil.copytree(build.SOURCES, tmp_path / "cpu")
    monkeypatch.setattr(build, "SOURCES", copied)
    assert build.source_hash() == before
    for path in sorted(copied.glob("*.h")):
        text = path.read_bytes()
        path.write_bytes(text + b"\n")
        assert build.source_hash() != before
        path.write_bytes(text)
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-g"))
    assert build.source_hash() != before


def test_every_instruction_set_that_a_variant_is_compiled_for_is_asked_of_the_processor():
    source = (build.SOURCES / "dispatch.cpp").read_text()
    for name, (_, _, flags) in build.X86_VARIANTS.items():
        asked = source.split(f"&mlff_variant_{name}_f32")[0].rsplit("if (", 1)[-1]
        needed = {flag.removeprefix("-m") for flag in flags if not flag.startswith("-mprefer")}
        assert needed <= set(re.findall(r'__builtin_cpu_supports\("(\w+)"\)', asked)), name


@pytest.mark.slow
def test_two_that_build_at_once_get_one_library(tmp_path):
    results = []
    workers = [threading.Thread(target=lambda: results.append(run(tmp_path))) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [result.stdout.split() for result in results] == [["cpu", "cpu"]] * 2, results[0].stderr
    assert sum("compiling" in result.stderr for result in results) == 1
    assert len(list(tmp_path.glob("*.so"))) == 1
    assert not list(tmp_path.glob(".build-*"))
