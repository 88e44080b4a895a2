"""Ways to make geometries: one strategy a file, all behind :class:`~mlff_core.data.sampling.strategy.Strategy`.

Nothing here imports RDKit or GFN-FF before a strategy that needs it is used.
"""

from mlff_core.data.sampling.bonds import closest_contact
from mlff_core.data.sampling.cell import Cell
from mlff_core.data.sampling.cluster import Cluster
from mlff_core.data.sampling.collision import Collision
from mlff_core.data.sampling.crystal.bulk import Exchange, Lattice, Thermal
from mlff_core.data.sampling.crystal.liquid import Melt, Packing
from mlff_core.data.sampling.crystal.planes import StackingFault, SurfaceSlab
from mlff_core.data.sampling.crystal.point_defects import Interstitial, Vacancy
from mlff_core.data.sampling.descent import Descent
from mlff_core.data.sampling.dimer import Dimer
from mlff_core.data.sampling.gfnff_md import GfnffMd
from mlff_core.data.sampling.langevin import langevin, langevin_md
from mlff_core.data.sampling.minimum import Minimum
from mlff_core.data.sampling.normal_mode import NormalMode
from mlff_core.data.sampling.rattle import Rattle
from mlff_core.data.sampling.strain import Strain
from mlff_core.data.sampling.strategy import SamplingContext, Strategy
from mlff_core.data.sampling.stretch import Stretch
from mlff_core.data.sampling.torsion import Torsion

STRATEGIES: dict[str, type[Strategy]] = {
    strategy.kind: strategy
    for strategy in (
        Minimum, Rattle, Strain, Torsion, Stretch, GfnffMd, Dimer, Cluster, Descent, NormalMode, Cell,
        Collision, Lattice, Thermal, Exchange, Vacancy, Interstitial, SurfaceSlab, StackingFault, Packing, Melt,
    )
}  # fmt: skip
"""Every strategy by the name its geometries carry in the data set."""

__all__ = [
    "STRATEGIES",
    "Cell",
    "Cluster",
    "Collision",
    "Descent",
    "Dimer",
    "Exchange",
    "GfnffMd",
    "Interstitial",
    "Lattice",
    "Melt",
    "Minimum",
    "NormalMode",
    "Packing",
    "Rattle",
    "SamplingContext",
    "StackingFault",
    "Strain",
    "Strategy",
    "Stretch",
    "SurfaceSlab",
    "Thermal",
    "Torsion",
    "Vacancy",
    "closest_contact",
    "langevin",
    "langevin_md",
]
