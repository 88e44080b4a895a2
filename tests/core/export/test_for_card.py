"""The structures on which exports are compared are such as the card allows."""

import pytest

from mlff_core import ModelCard
from mlff_core.export.writing import for_card
from mlff_core.potentials.checks import check_supported
from mlff_core.structures.examples import all_structures
from mlff_core.structures.reading import batch_from_atoms


@pytest.mark.parametrize("elements", [(1, 6, 7, 8), (6, 8), (1,), (1, 7, 9), (7,)])
def test_a_closed_shell_model_gets_even_numbers_of_electrons(elements):
    card = ModelCard("model", elements, 5.0, spin_multiplicities="closed shell")
    for atoms in all_structures().values():
        given = for_card(atoms, card)
        batch = batch_from_atoms(given)
        check_supported(card, batch)
        assert abs(len(given) - len(atoms)) <= (0 if any(z % 2 == 0 for z in elements) else 1)


def test_other_models_get_the_structures_as_they_are():
    card = ModelCard("model", (1, 6, 7, 8), 5.0)
    for atoms in all_structures().values():
        assert for_card(atoms, card) == atoms
