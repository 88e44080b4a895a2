"""The states of a molecule to start from: its tautomers, and its protonation at a pH."""

from __future__ import annotations

from mlff_core.errors import InputError, MissingDependencyError
from mlff_core.structures.smiles import parse, rdkit

MOST_TAUTOMERS = 200
"""Tautomers that RDKit may enumerate for one molecule; beyond, its search takes minutes."""


def states(smiles: str, ph: float | None, n_tautomers: int) -> list[str]:
    """Return the SMILES of a molecule's states, none twice.

    Parameters
    ----------
    smiles
        The molecule.
    ph
        Each tautomer is given the protons that it has in water at this pH, by dimorphite-dl; where several states are
        about as frequent, the first. Molecules with one heavy atom stay as they are. None keeps the protons.
    n_tautomers
        Largest number of tautomers by RDKit, the given one among them and first; 1 keeps to the given one.

    Raises
    ------
    InputError
        The SMILES is invalid.
    MissingDependencyError
        RDKit, or dimorphite-dl where a pH is given, is not installed.

    Examples
    --------
    >>> states("CC(=O)O", 7.4, 1)
    ['CC(=O)[O-]']
    >>> states("CC(=O)CC(C)=O", None, 2)
    ['CC(=O)CC(C)=O', 'CC(=O)C=C(C)O']
    """
    chem = rdkit()
    found = [chem.MolToSmiles(parse(smiles))]
    if n_tautomers > 1:
        found = _tautomers(found[0], n_tautomers)
    if ph is not None:
        found = [_protonated(one, ph) for one in found]
    return list(dict.fromkeys(found))


def _tautomers(smiles: str, most: int) -> list[str]:
    chem = rdkit()
    from rdkit import rdBase
    from rdkit.Chem.MolStandardize import rdMolStandardize

    enumerator = rdMolStandardize.TautomerEnumerator()
    enumerator.SetMaxTautomers(MOST_TAUTOMERS)
    # Centres are kept: what a proton walks over would lose its handedness.
    enumerator.SetRemoveSp3Stereo(False)
    enumerator.SetRemoveBondStereo(False)
    with rdBase.BlockLogs():
        made = list(enumerator.Enumerate(parse(smiles)))
    # RDKit's score is highest for the tautomers that chemists draw; equal ones are in the order of their SMILES.
    ranked = sorted((-enumerator.ScoreTautomer(one), chem.MolToSmiles(one)) for one in made)
    return list(dict.fromkeys([smiles, *(name for _, name in ranked)]))[:most]


def _protonated(smiles: str, ph: float) -> str:
    """Return the state of a SMILES at a pH; each molecule of it by itself, since dimorphite-dl keeps only one."""
    chem = rdkit()
    found = ".".join(_one_protonated(part, ph) for part in smiles.split("."))
    before, after = (sorted(atom.GetSymbol() for atom in parse(one).GetAtoms()) for one in (smiles, found))
    if before != after:
        raise InputError(f"dimorphite-dl makes {found} of {smiles} at pH {ph:g}, which has other atoms; leave it out")
    return str(chem.MolToSmiles(parse(found)))


def _one_protonated(smiles: str, ph: float) -> str:
    if parse(smiles).GetNumAtoms() == 1:
        return smiles  # dimorphite-dl has no rules for ammonium, hydroxide, chloride …, and makes them neutral
    try:
        from dimorphite_dl import protonate_smiles
    except ImportError as error:
        raise MissingDependencyError(
            "states at a pH need dimorphite-dl: pip install 'mlff-hub[data]', or leave the pH out"
        ) from error
    from loguru import logger

    logger.disable("dimorphite_dl")
    found = protonate_smiles(smiles, ph_min=ph, ph_max=ph, precision=0.0)
    if not found:
        raise InputError(f"dimorphite-dl finds no state of {smiles} at pH {ph:g}; leave the molecule out")
    return str(found[0])
