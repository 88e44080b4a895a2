"""How the students were made and what they cannot do."""

from __future__ import annotations

import json
from collections.abc import Iterator

from students_page.measured import RESULTS, TEACHER, physics


def making() -> Iterator[str]:
    """Return the commands, and what the stages were for."""
    yield """## How they were made

```
examples/train/data/make_data.sh data 2     # molecules, liquids, labels, test sets: four core-hours
examples/train/train_all.sh data 90 runs    # the three runs, each resumable
python examples/train/ship.py runs data && python docs/make_students_page.py
```

The shipped files were trained on a CPU in stages of these settings, each within `stop.budget_minutes` and from the
weights of the one before (`model.init_from`): first on the molecules, then with collisions, which taught them the
wall of the potential, then with a core (`model.core`) on the data without the teacher's own wells and with contacts
of small molecules, `loss.energy_weight` doubled halfway, and shortly with clashes within molecules too; then with
fragments whose bonds turn and with pairs as they bind, which weigh more than the rest (`make_data.sh`); then with a
box of a liquid in every batch, and with the stress of those too; then with pairs that bind strongly beside the boxes,
in two rounds, the second sampled by the `tiny` of the first; last with clashes and bare pairs of atoms beside those,
since all three had forgotten how some atoms repel that come too close: two stages and, for `tiny`, three, since in
the first bare pairs weighed too much, at the cost of the forces in molecules; `ultra-tiny` had a stage with clashes
before, and a last one with frames of its own breaking water (`liquids.py --breaking`): in the stages tried since the
stresses of liquids, a proton of its water at 300 K went over within 1.3 ps, and the box fell into itself. The last
stage of `original` began with the mean of the weights at the ends of the five before (`examples/train/average.py`)
and had half their learning rate; what is shipped of it is a mean too. Half of the boxes were sampled with the `tiny`
of the stage before, the other half with one that had learned from the first half for eight minutes. The stages divide
their molecules for validation anew, so that a later one's may have been trained on in an earlier one; the test set
above never was. The `molecules` part was labelled by the same recipe before the generator had it: made anew, it has
other random numbers. The cards hold the settings of the last stage in full (`mlff models show organic-original`).

```
python examples/train/stages.py organic-tiny data runs    # all stages of one student, resumable
```

goes through the stages above again with their settings, seeds and numbers of steps. Each then learns from all of
today's data instead of what there was at the time, so the weights are others; how near the errors come was not
measured.
"""


def limits() -> Iterator[str]:
    """Return what a user must not expect."""
    share = json.loads((RESULTS / "long_range_share.json").read_text())
    attracting = physics("dimers", "dimers that attract below 0.7 covalent radii", "{:.0f}")
    holes = physics("dimers", "deepest hole in a dimer's wall", "{:.2g}")
    barriers = physics("torsions", "torsion barriers, mean error", "{:.1f}")
    rmsd = physics("relaxation", "relaxed geometry, mean RMSD", "{:.2f}")
    s66 = physics("s66", "S66, mean difference from the teacher", "{:.1f}")
    water = "water", "water, g(OO) from experiment, mean difference", "{:.2f}"
    yield f"""## Limits

- Neutral, closed-shell systems only; total charge and spin are not seen.
- A cutoff of 5 Å. Pairs beyond it contribute {share["force_mae_ev_per_angstrom"]:.3f} eV/Å (mean by component,
  {share["share_of_force_variance"]:.1%} of the variance) to the teacher's forces on the test set, and
  {share["energy_mae_mev_per_atom"]:.1f} meV/atom to its energies (`python -m benchmarks long_range_share`). Within a
  molecule the environments give it away; between molecules a part is lost, as said above.
- Two atoms alone still attract somewhere below 0.7 covalent lengths in {attracting}
  of the 36 pairs of elements, by at most {holes} eV
  (`python -m benchmarks.physics dimers` lists them).
- Barriers of turning bonds are off by {barriers} kcal/mol in the mean of twenty molecules,
  in the small two most where a barrier is high: amides and disulfides are too easy to turn.
- Relaxed geometries are {rmsd} Å from the teacher's in the mean of twenty molecules:
  flexible ones slide along soft torsions, some into the next valley.
- Attraction between molecules is too weak: S66 energies are {s66} kcal/mol from the teacher's.
  [Physics](physics.md) has this and the other checks.
- Liquids were learned at constant volume, at 270 to 450 K and within 8 % of their density, from boxes of about 100
  atoms. Their pressure is off by what the table above says; densities under constant pressure were not measured.
  Crystals, surfaces, ions in solution and liquids of other kinds are unseen: let a student learn
  boxes of yours first ([training](training.md)).
- What the teacher has wrong, the students have too: its water has more structure than the measured one. Its g(OO) is
  {physics(*water, models=[TEACHER])} from experiment in the mean, theirs {physics(*water)}
  ([physics](physics.md)).
- Energies between different molecules are the teacher's weak side, and so the students'.
"""
