import pytest

from mlff_core.errors import InputError
from mlff_core.testing import ExporterContract, RuntimeContract
from mlff_core.testing.reference_potential import small_student
from mlff_plugins.aoti import AOTIExporter, AOTIRuntime


@pytest.mark.slow  # each compilation takes about a minute and a half, more on a busy machine
@pytest.mark.timeout(1800)
class TestAOTIExporter(ExporterContract):
    exporter = AOTIExporter()


@pytest.mark.slow
@pytest.mark.timeout(1800)
class TestAOTIRuntime(RuntimeContract):
    runtime = AOTIRuntime()
    exporter = AOTIExporter()

    def test_an_element_the_model_does_not_know_has_no_energy(self, check_unknown_elements):
        from torch._inductor import aoti_load_package

        package = aoti_load_package(str(self._file()))
        check_unknown_elements(lambda inputs: [tensor.numpy() for tensor in package(*inputs)])


def test_another_ending_is_refused_before_anything_is_compiled(tmp_path):
    with pytest.raises(InputError, match=r"end in \.pt2"):
        AOTIExporter().export(small_student(), tmp_path / "student.so")
    assert not list(tmp_path.iterdir())


def test_a_gpu_is_refused():
    with pytest.raises(InputError, match="compiled for the CPU"):
        AOTIRuntime().open("student.pt2", device="cuda")
