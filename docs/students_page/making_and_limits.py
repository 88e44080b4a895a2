"""How the students were made and what they cannot do."""

from __future__ import annotations

import json
from collections.abc import Iterator

from students_page.measured import RESULTS, TEACHER, physics


def making() -> Iterator[str]:
    """Return the commands, and what the stages were for."""
    yield """## How they were made

These commands make the data, train the three students and write this page:

```console
$ examples/train/data/make_data.sh data 2     # molecules, liquids, labels, test sets: four core-hours
$ examples/train/train_all.sh data 90 runs    # the three runs; each can be resumed
$ python examples/train/ship.py runs data && python docs/make_students_page.py
```

The shipped files were trained on a CPU in stages with these settings. Each stage had a limit in `stop.budget_minutes`
and started from the weights of the stage before (`model.init_from`). The training data of the stages, in order:

1. The molecules.
2. Also collisions, so that the students learn the repulsive wall of the potential.
3. With a core (`model.core`), on the data without the unphysical wells of the teacher, and with contacts of small
   molecules. `loss.energy_weight` was doubled halfway. A short stage had clashes within molecules too.
4. Also fragments with rotated bonds and bound pairs, which have more weight than the rest (`make_data.sh`).
5. Also one box of a liquid in every batch, then also the stress of these boxes.
6. Also strongly bound pairs with the boxes, in two rounds. The `tiny` of the first round sampled the second round.
7. Also clashes and pairs of atoms alone with the boxes, because all three students had lost the repulsion of some
atoms at short distance. These were two stages, and three for `tiny`: in its first stage the pairs of atoms had too
much weight, which made the forces in molecules worse.

Details:

- `ultra-tiny` had one more stage with clashes before, and a last stage with frames of its own breaking water
  (`liquids.py --breaking`). In the stages tried since the stresses of liquids, a proton of its water at 300 K was
  transferred within 1.3 ps, and the box collapsed.
- The last stage of `original` started from the mean of the weights at the ends of the five stages before
  (`examples/train/average.py`), with half their learning rate. The shipped file is a mean too.
- Half of the boxes were sampled with the `tiny` of the stage before, the other half with one that had been trained on
  the first half for eight minutes.
- Each stage makes a new validation split. A validation molecule of a later stage may therefore have been in the
  training data of an earlier stage. The molecules of the test set above were never in the training data.
- The `molecules` part was labelled with the same recipe before the generator had it. If you make it again, it has
  other random numbers.
- The cards have the complete settings of the last stage (`mlff models show organic-original`).

This command repeats all stages of one student with their settings, seeds and numbers of steps, and can be resumed:

```console
$ python examples/train/stages.py organic-tiny data runs
```

Each stage then learns from all of today's data and not only from the data of that time, so the weights are different.
How close the errors come was not measured.
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

Three values separated by / are those of original / tiny / ultra-tiny.

- **Charge and spin.** Neutral, closed-shell systems only. The students do not see total charge or spin.
- **Cutoff.** Pairs beyond 5 Å contribute {share["force_mae_ev_per_angstrom"]:.3f} eV/Å (mean per component,
  {share["share_of_force_variance"]:.1%} of the variance) to the teacher's forces on the test set, and
  {share["energy_mae_mev_per_atom"]:.1f} meV/atom to its energies (`python -m benchmarks long_range_share`). Within a
  molecule the local environment predicts this contribution; between molecules a part is lost ([goals](#goals)).
- **Torsion barriers** have mean errors of {barriers} kcal/mol over twenty molecules. In `organic-tiny` and
  `organic-ultra-tiny` high barriers have the largest errors: those of amides and disulfides are too low.
- **Relaxed geometries** differ from the teacher's by {rmsd} Å in the mean of twenty molecules. Flexible molecules
  move along soft torsions, some into the next valley.
- **Interaction energies.** Attraction between molecules is too weak: S66 energies differ from the teacher's by
  {s66} kcal/mol. [Physics](physics.md) has this and the other checks.
- **Energies between different molecules** are a weak point of the teacher, and so of the students.
- **Liquids** were trained at constant volume, at 270 to 450 K and within 8 % of their density, in boxes of about 100
  atoms. The table of [liquids](#liquids) has the errors of the pressure; densities at constant pressure were not
  measured.
- **Not in the training data:** crystals, surfaces, ions in solution and liquids of other kinds. Train a student on
  boxes of yours first ([training](training.md)).
- **Water.** The students repeat the errors of the teacher: its water has more structure than the measured one. The
  mean difference of g(OO) from experiment is {physics(*water, models=[TEACHER])} for the teacher and
  {physics(*water)} for the students ([physics](physics.md)).
- **Two atoms alone** attract each other somewhere below 0.7 times the sum of their covalent radii in {attracting} of
  the 36 pairs of elements, by at most {holes} eV (`python -m benchmarks.physics dimers` lists them).
"""
