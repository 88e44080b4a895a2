from mlff_core.testing import EngineContract
from mlff_plugins.ase import ASEEngine


class TestASEContract(EngineContract):
    engine = ASEEngine()
    # ASE's atomic data come with the core; its calculators need not.
    engine_modules = ("ase.calculators", "torch")
