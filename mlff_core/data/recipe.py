"""The settings of a generated data set: kinds of geometry, their numbers and displacements."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from mlff_core.data.label_settings import LabelSettings
from mlff_core.data.sampling import (
    STRATEGIES,
    Cell,
    Cluster,
    Collision,
    Descent,
    Dimer,
    Exchange,
    GfnffMd,
    Interstitial,
    Lattice,
    Melt,
    Minimum,
    NormalMode,
    Packing,
    Rattle,
    StackingFault,
    Strain,
    Strategy,
    Stretch,
    SurfaceSlab,
    Thermal,
    Torsion,
    Vacancy,
)
from mlff_core.errors import InputError

SOLVENTS = (
    "O", "CO", "CCO", "CC(C)O", "CC#N", "CC(C)=O", "CS(C)=O", "CN(C)C=O", "C1CCOC1", "CCOCC", "CCOC(C)=O", "ClCCl",
    "ClC(Cl)Cl", "c1ccccc1", "Cc1ccccc1", "c1ccncc1", "CC(=O)O", "C1COCCO1", "CCCCCC", "C1CCCCC1", "NC=O", "OCCO",
)  # fmt: skip
"""Solvents of clusters by default."""


@dataclass(frozen=True)
class Kinds:
    """The strategies and their settings; each is a table that can be enabled and disabled."""

    minimum: Minimum = field(default_factory=Minimum)
    rattle: Rattle = field(default_factory=Rattle)
    strain: Strain = field(default_factory=Strain)
    torsion: Torsion = field(default_factory=Torsion)
    stretch: Stretch = field(default_factory=Stretch)
    md: GfnffMd = field(default_factory=GfnffMd)
    dimer: Dimer = field(default_factory=Dimer)
    cluster: Cluster = field(default_factory=Cluster)
    descent: Descent = field(default_factory=Descent)
    normal_mode: NormalMode = field(default_factory=NormalMode)
    cell: Cell = field(default_factory=Cell)
    collision: Collision = field(default_factory=Collision)
    lattice: Lattice = field(default_factory=Lattice)
    thermal: Thermal = field(default_factory=Thermal)
    exchange: Exchange = field(default_factory=Exchange)
    vacancy: Vacancy = field(default_factory=Vacancy)
    interstitial: Interstitial = field(default_factory=Interstitial)
    surface: SurfaceSlab = field(default_factory=SurfaceSlab)
    stacking_fault: StackingFault = field(default_factory=StackingFault)
    packing: Packing = field(default_factory=Packing)
    melt: Melt = field(default_factory=Melt)

    def enabled(self) -> list[Strategy]:
        """Return the enabled strategies."""
        return [strategy for entry in fields(self) if (strategy := getattr(self, entry.name)).enabled]


@dataclass(frozen=True)
class GenerateConfig(LabelSettings):
    """Settings of a generated data set; see :class:`~mlff_core.data.label_settings.LabelSettings` for the labels."""

    seed: int = 0
    """The same seed gives the same structures, on any number of processes."""
    conformers: int = 2
    """Conformers for each SMILES."""
    ph: float | None = None
    """Each SMILES gets the protons that it has in water at this pH; None keeps those of the list."""
    tautomers: int = 1
    """Largest number of tautomers of each SMILES, the given one first."""
    batch_molecules: int = 8
    """Molecules kept in one file until the end: the most that a killed run loses."""
    max_atoms: int = 0
    """Larger starts are left out; 0 keeps all."""
    clash: float = 0.65
    """Geometries with a distance below this times the sum of the covalent radii are left out."""
    solvents: tuple[str, ...] = SOLVENTS
    """SMILES of the solvents of clusters."""
    kinds: Kinds = field(default_factory=Kinds)
    """The strategies."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("conformers", "batch_molecules", "tautomers"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seed < 0 or self.max_atoms < 0:
            raise InputError(f"seed and max_atoms must not be negative, got {self.seed} and {self.max_atoms}")
        if self.ph is not None and not -2 <= self.ph <= 16:
            raise InputError(f"ph must lie in -2…16, got {self.ph:g}")
        if not 0 <= self.clash < 1:
            raise InputError(f"clash must lie in 0…1 (times the sum of the covalent radii), got {self.clash:g}")
        if not self.kinds.enabled():
            raise InputError(f"at least one kind of geometry must be enabled; there are {', '.join(STRATEGIES)}")
