import json
import time
import warnings
from dataclasses import replace

import numpy as np
import pytest

from mlff_core.config import from_dict
from mlff_core.data.generate import generate
from mlff_core.data.hdf5 import Dataset, LabelledStructure, write_dataset
from mlff_core.data.label import label_structures
from mlff_core.data.recipe import GenerateConfig
from mlff_core.data.sampling import STRATEGIES
from mlff_core.errors import InputError, MissingDependencyError
from mlff_core.testing.reference_potential import PairPotential

pytest.importorskip("rdkit")
pytest.importorskip("gfnff")

SMILES = "CCO ethanol\n# a comment\n\nc1ccccc1O phenol\nCC(=O)NC\nO water\nCC#N\nC1CC1C\n"
CHEAP = from_dict(
    GenerateConfig,
    {"conformers": 1, "batch_molecules": 2, "max_force": 0.0, "kinds": {"md": {"n": 2, "steps_between": 5}}},
)


@pytest.fixture
def smiles(tmp_path):
    path = tmp_path / "few.smi"
    path.write_text(SMILES)
    return path


def test_a_list_of_smiles_becomes_a_labelled_data_set(smiles, tmp_path):
    report = generate(smiles, tmp_path / "out.h5", CHEAP, teacher=PairPotential)
    assert (report.n_inputs, report.n_failed_inputs) == (6, 0)
    with Dataset(tmp_path / "out.h5") as dataset:
        dataset.validate()
        assert len(dataset) == report.n_structures
        counts = dict(zip(dataset.kinds, np.bincount(dataset.kind).tolist(), strict=True))
        assert counts["minimum"] == counts["rattle"] == counts["strain"] == counts["stretch"] == 6
        assert counts["descent"] == counts["md"] == 12
        singles = {text for text in dataset.smiles if "." not in text}
        assert {"CCO", "Oc1ccccc1", "CNC(C)=O", "O", "CC#N", "CC1CC1"} <= singles
        assert dataset.created["settings"]["kinds"]["md"]["steps_between"] == 5
        expected = PairPotential().predict(dataset.read(np.arange(len(dataset))).batch)
        np.testing.assert_allclose(dataset.energy, expected.energy, atol=1e-5)


def test_the_same_seed_gives_the_same_structures_whatever_the_batch(smiles, tmp_path):
    generate(smiles, tmp_path / "a.h5", CHEAP, teacher=PairPotential())
    generate(smiles, tmp_path / "b.h5", CHEAP, teacher=PairPotential())
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    generate(smiles, tmp_path / "c.h5", replace(CHEAP, batch_molecules=5), teacher=PairPotential())
    generate(smiles, tmp_path / "d.h5", replace(CHEAP, seed=1), teacher=PairPotential())
    a, c, d = (Dataset(tmp_path / name) for name in ("a.h5", "c.h5", "d.h5"))
    for one, other in zip(a.structures(), c.structures(), strict=True):
        assert (one.kind, one.smiles) == (other.kind, other.smiles)
        np.testing.assert_allclose(one.positions, other.positions, atol=1e-5)
        assert one.energy == pytest.approx(other.energy, abs=1e-5)
    assert not np.allclose(a.structure(1).positions, d.structure(1).positions, atol=1e-2)


def test_switching_a_kind_off_changes_no_other(smiles, tmp_path):
    kinds = {"cluster": {"enabled": False}, "descent": {"enabled": False}, "torsion": {"enabled": False}}
    fewer = from_dict(GenerateConfig, {"conformers": 1, "kinds": kinds | {"md": {"n": 2, "steps_between": 5}}})
    generate(smiles, tmp_path / "all.h5", CHEAP, teacher=PairPotential())
    generate(smiles, tmp_path / "fewer.h5", fewer)
    everything = list(Dataset(tmp_path / "all.h5").structures())
    for kind in ("minimum", "rattle", "md", "dimer"):
        a = [s.positions for s in everything if s.kind == kind]
        b = [s.positions for s in Dataset(tmp_path / "fewer.h5").structures() if s.kind == kind]
        assert len(a) == len(b)
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert not set(Dataset(tmp_path / "fewer.h5").kinds) & set(kinds)
    assert not Dataset(tmp_path / "fewer.h5").is_labelled


def test_a_run_killed_at_random_moments_ends_with_the_same_bytes(smiles, tmp_path, kill_after):
    def work(name="killed.h5"):
        generate(smiles, tmp_path / name, CHEAP, teacher=PairPotential())

    rng = np.random.default_rng()
    n_kills, finished = 0, False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside torch's threads
        begun = time.perf_counter()
        assert kill_after(lambda: work("whole.h5"), 100)
        whole_run = time.perf_counter() - begun  # kills strike after a share of it, so midway on a fast machine too
        while not finished:
            finished = kill_after(work, rng.uniform(0.1, 0.6) * whole_run if n_kills < 5 else 100)
            n_kills += not finished
    assert n_kills > 0
    assert (tmp_path / "killed.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_bad_molecules_are_counted_logged_with_their_reason_and_skipped(tmp_path):
    path = tmp_path / "bad.smi"
    path.write_text("CCO\nC1CC(\nC(F)(F)(F)(F)F\n[Fe]C\nCCBr\n" + "CC\n" * 5)
    report = generate(path, tmp_path / "out.h5", replace(CHEAP, max_failed_share=0.3), teacher=PairPotential())
    assert (report.n_inputs, report.n_failed_inputs) == (10, 3)
    assert report.dropped["outside the teacher"] == 1
    rows = {row["source"]: row["reason"] for row in map(json.loads, report.skipped.read_text().splitlines())}
    assert rows["bad.smi:2"] == "'C1CC(' is not a valid SMILES"
    assert (
        "is not a possible molecule: Explicit valence for atom # 0 C, 5, is greater than permitted" in rows["bad.smi:3"]
    )
    assert rows["bad.smi:4"] == "MMFF94 cannot type [CH3][Fe]"
    assert rows["bad.smi:5"].startswith("pair-potential does not know Br")
    with pytest.raises(
        InputError, match=r"3 of .* inputs so far failed, more than the 0.2 of all 10.*not a valid SMILES"
    ):
        generate(path, tmp_path / "strict.h5", replace(CHEAP, max_failed_share=0.2), teacher=PairPotential())
    assert not (tmp_path / "strict.h5").exists()


def test_a_force_field_that_fails_costs_only_its_own_kind(smiles, tmp_path, monkeypatch):
    import gfnff

    class Broken(gfnff.GFNFFCalculator):
        def singlepoint(self, numbers, positions_bohr, lattice=None):
            if len(numbers) == 13:  # phenol
                raise RuntimeError("GFN-FF singlepoint failed with iostat = 1")
            return super().singlepoint(numbers, positions_bohr, lattice)

    monkeypatch.setattr(gfnff, "GFNFFCalculator", Broken)
    report = generate(smiles, tmp_path / "out.h5", replace(CHEAP, max_failed_share=0.5), teacher=PairPotential())
    assert report.n_failed_inputs >= 1
    rows = [json.loads(line) for line in report.skipped.read_text().splitlines()]
    assert {"source": "few.smi:4", "kind": "md"}.items() <= rows[0].items()
    phenol = [s.kind for s in Dataset(tmp_path / "out.h5").structures() if s.smiles == "Oc1ccccc1"]
    assert "rattle" in phenol
    assert "md" not in phenol


def test_clashes_are_left_out(smiles, tmp_path):
    wild = {"conformers": 1, "kinds": {"rattle": {"sigma_min": 0.5, "sigma_max": 0.5, "n": 5}}}
    for kind in ("strain", "torsion", "stretch", "md", "dimer", "cluster", "descent"):
        wild["kinds"][kind] = {"enabled": False}
    report = generate(smiles, tmp_path / "out.h5", from_dict(GenerateConfig, wild))
    assert report.dropped["clash"] > 5
    assert report.n_structures == 6 * 6 - report.dropped["clash"]


def test_an_sdf_keeps_its_geometries_and_embeds_flat_entries(tmp_path):
    from rdkit import Chem
    from rdkit.Chem import AllChem

    solid, flat = Chem.AddHs(Chem.MolFromSmiles("CCO")), Chem.MolFromSmiles("CCN")
    AllChem.EmbedMolecule(solid, randomSeed=5)
    AllChem.Compute2DCoords(flat)
    blocks = [Chem.MolToMolBlock(solid), Chem.MolToMolBlock(flat), "rubbish\n"]
    (tmp_path / "in.sdf").write_text("$$$$\n".join(blocks) + "$$$$\n")
    report = generate(
        tmp_path / "in.sdf", tmp_path / "out.h5", replace(CHEAP, max_failed_share=0.5), teacher=PairPotential()
    )
    assert report.n_failed_inputs == 1
    structures = list(Dataset(tmp_path / "out.h5").structures())
    given = [s for s in structures if s.kind == "given"]
    assert len(given) == 1
    np.testing.assert_allclose(given[0].positions, solid.GetConformer().GetPositions(), atol=2e-4)
    (minimum,) = [s for s in structures if s.kind == "minimum"]
    assert (minimum.smiles, minimum.n_atoms) == ("CCN", 10)


def test_a_trajectory_is_one_molecule_and_needs_no_rdkit(tmp_path, monkeypatch):
    import ase.io
    from ase.build import molecule

    monkeypatch.setitem(__import__("sys").modules, "rdkit", None)
    frames = [molecule("CH3CH2OH") for _ in range(4)] + [molecule("H2O")]
    for k, frame in enumerate(frames):
        frame.rattle(0.02, seed=k)
    ase.io.write(tmp_path / "in.extxyz", frames)
    config = replace(CHEAP, kinds=replace(CHEAP.kinds, cluster=replace(CHEAP.kinds.cluster, enabled=False)))
    report = generate(tmp_path / "in.extxyz", tmp_path / "out.h5", config, teacher=PairPotential())
    assert report.n_failed_inputs == 0
    dataset = Dataset(tmp_path / "out.h5")
    assert set(dataset.molecule_id) == {0, 1}
    assert {"given", "rattle", "md", "descent"} <= set(dataset.kinds)
    assert not dataset.has("cell")


def test_geometries_made_from_a_labelled_set_carry_none_of_its_labels(tmp_path):
    from ase.build import molecule

    atoms = molecule("H2O")
    water = LabelledStructure(atoms.numbers, atoms.positions, molecule_id=0)
    labelled = label_structures(PairPotential(), [water], hessian_rows=2, atom_energies=True).structures
    write_dataset(tmp_path / "in.h5", labelled, teacher={"name": "pair"})
    kinds = {kind: {"enabled": kind in ("minimum", "rattle")} for kind in STRATEGIES}
    generate(tmp_path / "in.h5", tmp_path / "out.h5", from_dict(GenerateConfig, {"kinds": kinds}))
    dataset = Dataset(tmp_path / "out.h5")
    assert len(dataset) > 1
    assert not [name for name in ("energy", "forces", "atom_energies", "hessian") if dataset.has(name)]


def test_crystals_are_strained_and_labelled_with_stress(tmp_path):
    import ase.io
    from ase import Atoms

    crystal = Atoms("CO", [[0, 0, 0], [1.9, 1.6, 1.9]], cell=[[4.2, 0, 0], [0.5, 4.1, 0], [-0.3, 0.4, 4.4]], pbc=True)
    ase.io.write(tmp_path / "in.extxyz", crystal)
    generate(tmp_path / "in.extxyz", tmp_path / "out.h5", CHEAP, teacher=PairPotential())
    dataset = Dataset(tmp_path / "out.h5")
    dataset.validate()
    assert dict(zip(dataset.kinds, np.bincount(dataset.kind).tolist(), strict=True)) == {
        "descent": 2, "cell": 6, "given": 1,
    }  # fmt: skip
    assert dataset.read(np.arange(9)).batch.pbc.all()
    assert np.abs(dataset.read(np.arange(9)).stress.numpy()).max() > 0


def test_radicals_and_ions_carry_their_charge_and_multiplicity(tmp_path):
    (tmp_path / "in.smi").write_text("C[NH3+]\nC[CH2]\n")
    off = {k: {"enabled": False} for k in ("md", "dimer", "cluster", "descent", "torsion")}
    generate(tmp_path / "in.smi", tmp_path / "out.h5", from_dict(GenerateConfig, {"kinds": off}))
    found = {(s.smiles, s.charge, s.spin_multiplicity) for s in Dataset(tmp_path / "out.h5").structures()}
    assert found == {("C[NH3+]", 1, 1), ("[CH2]C", 0, 2)}


def test_a_csv_names_its_column(tmp_path):
    (tmp_path / "in.csv").write_text('id,SMILES,note\n1,CCO,"a, b"\n2,CC,x\n')
    off = {k: {"enabled": False} for k in ("md", "dimer", "cluster", "descent", "torsion")}
    config = from_dict(GenerateConfig, {"kinds": off, "conformers": 1})
    generate(tmp_path / "in.csv", tmp_path / "out.h5", config)
    assert Dataset(tmp_path / "out.h5").smiles == ["CCO", "CC"]
    (tmp_path / "in.csv").write_text("id,structure\n1,CCO\n")
    with pytest.raises(InputError, match="has no column called SMILES, but id, structure"):
        generate(tmp_path / "in.csv", tmp_path / "other.h5", config)


def test_kinds_that_need_a_teacher_say_how_to_switch_them_off(smiles, tmp_path):
    with pytest.raises(InputError, match=r"kind descent needs a teacher.*--set kinds.descent.enabled=false"):
        generate(smiles, tmp_path / "out.h5", CHEAP)


def test_a_missing_package_is_said_before_the_work_begins(smiles, tmp_path, monkeypatch):
    from importlib import metadata

    version = metadata.version

    def without_gfnff(name):
        if name == "gfnff":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", without_gfnff)
    with pytest.raises(MissingDependencyError, match=r"gfnff>=0.3 is not installed.*mlff-hub\[data\]"):
        generate(smiles, tmp_path / "out.h5", CHEAP, teacher=PairPotential)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kinds": {"ratle": {}}}, "unknown config key kinds.ratle; did you mean kinds.rattle?"),
        ({"kinds": {"md": {"n": "four"}}}, "kinds.md.n must be a whole number, got 'four'"),
        ({"kinds": {"rattle": {"sigma_min": 0.3}}}, r"\[kinds.rattle\] sigma_min and sigma_max must satisfy"),
        ({"conformers": 0}, "conformers must be at least 1, got 0"),
        ({"clash": 2.0}, "clash must lie in 0…1"),
    ],
)
def test_an_impossible_config_names_the_key_and_what_is_allowed(settings, message):
    with pytest.raises(InputError, match=message):
        from_dict(GenerateConfig, settings)


def test_empty_and_absent_files_are_refused(tmp_path):
    (tmp_path / "empty.smi").write_text("# nothing\n")
    config = replace(CHEAP, kinds=replace(CHEAP.kinds, descent=replace(CHEAP.kinds.descent, enabled=False)))
    with pytest.raises(InputError, match="holds no molecules"):
        generate(tmp_path / "empty.smi", tmp_path / "out.h5", config)
    with pytest.raises(InputError, match="there is no file"):
        generate(tmp_path / "absent.smi", tmp_path / "out.h5", config)
