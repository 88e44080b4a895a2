"""Every tensor that a public function takes is documented with its shape, and with its unit where it has one."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted([*ROOT.glob("mlff_core/**/*.py"), *ROOT.glob("mlff_plugins/**/*.py")])
TENSOR = re.compile(r"\b(Tensor|ndarray|NDArray|ArrayLike)\b")
SHAPE = re.compile(
    r"\((?:n_\w+|\d|m|n|F|3·n_atoms|batch|…)[^)]*,?[^)]*\)|one number|scalar|shape \(\)|same shape|any shape"
)
UNIT = re.compile(
    r"Å|eV|\be\b|any unit|bohr|hartree|\bnm\b|kJ/mol|kcal/mol|\bfs\b|\bps\b|amu|kelvin|GPa|\bbar\b|cm⁻¹"
    r"|degree|radian"
)
COUNTED = re.compile(r"\b(?:u?int(?:8|16|32|64)|bool)\b")
"""A type that holds indices, counts or flags, none of which has a unit."""

INDICES_COUNTS_AND_FLAGS = (
    "atomic_numbers", "z_centers", "z_neighbors", "species", "center_species", "neighbor_species", "centers",
    "neighbors", "system_idx", "pbc", "n_atoms", "groups", "owners", "indices", "particles", "tags", "offsets",
    "starts", "keep",
)  # fmt: skip
FACTORS_AND_FEATURES = ("features", "filters", "splines", "cotangents", "levels", "directions", "rotation")
DIMENSIONLESS = frozenset((*INDICES_COUNTS_AND_FLAGS, *FACTORS_AND_FEATURES))
"""Names of arguments that never hold a quantity with a unit."""

DIMENSIONLESS_IN = {
    "products": {"row"},  # of data.hessian: the rows of the atoms
    "read": {"wanted"},  # of data.hessian_table: indices of structures
    "read_rows": {"wanted"},
    "forward": {"s", "v"},  # of the blocks of PaiNN: scalar and vector features
    "polynomial_envelope": {"x"},  # a ratio of two distances
    "spline_coefficients": {"values"},  # of the network's filters
    "refresh": {"numbers"},  # of kernels.cpu_model: weights
    "__init__": {"numbers"},  # weights, or atomic numbers
    "check_elements": {"numbers"},  # atomic numbers
    "to_integers": {"weight"},
    "multiplied_out": {"integers", "scales"},  # a weight as whole numbers times their scales
}
"""For each function, its dimensionless arguments whose names may hold a quantity with a unit elsewhere."""


def public_functions(tree):
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            if isinstance(node, ast.FunctionDef):
                yield node, ast.get_docstring(node) or ""
                continue
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and (
                    not method.name.startswith("_") or method.name == "__init__"
                ):
                    owner = node if method.name == "__init__" else method
                    yield method, ast.get_docstring(owner) or ""


def own_entry(name, docstring):
    """Return the text of a parameter's entry; None if there is no such entry."""
    lines = docstring.splitlines()
    for k, line in enumerate(lines):
        if not line.startswith(" ") and name in [part.strip() for part in line.split(":")[0].split(",")]:
            body = []
            for follower in lines[k + 1 :]:
                if follower.strip() and not follower.startswith(" "):
                    break
                body.append(follower)
            return " ".join(body)
    return None


def is_dimensionless(function_name, name, entry):
    """Return whether an argument needs no unit: by its name, or by an integer or bool type in its own entry."""
    if name in DIMENSIONLESS or name in DIMENSIONLESS_IN.get(function_name, ()):
        return True
    return entry is not None and bool(COUNTED.search(entry))


def missing_in(path):
    tree = ast.parse(path.read_text())
    for function, docstring in public_functions(tree):
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        for argument in arguments:
            if argument.annotation is None or not TENSOR.search(ast.unparse(argument.annotation)):
                continue
            if "Callable" in ast.unparse(argument.annotation):
                continue
            entry = own_entry(argument.arg, docstring)
            # A short docstring may describe its arguments in its sentences.
            text = docstring if entry is None else entry
            needed = [("shape", SHAPE)]
            if not is_dimensionless(function.name, argument.arg, entry):
                needed.append(("unit", UNIT))
            for what, pattern in needed:
                if not pattern.search(text):
                    yield f"{path.name}:{function.lineno} {function.name}({argument.arg}) lacks its {what}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_tensor_arguments_state_shape_and_unit(path):
    missing = list(missing_in(path))
    assert not missing, "\n".join(missing)


def lacking(tmp_path, name, entry):
    """Return what an argument ``name`` with this text as its entry lacks."""
    path = tmp_path / "imagined.py"
    docstring = f"Do.\n\n    Parameters\n    ----------\n    {name}\n        {entry}\n    "
    path.write_text(f'def f({name}: Tensor) -> None:\n    """{docstring}"""\n')
    return [line.split()[-1] for line in missing_in(path)]


def test_a_tensor_without_shape_is_found(tmp_path):
    assert lacking(tmp_path, "positions", "In Å.") == ["shape"]
    assert lacking(tmp_path, "centers", "Of the edges.") == ["shape"]
    assert lacking(tmp_path, "order", "Of the atoms, int64.") == ["shape"]


@pytest.mark.parametrize(
    "name", ["x", "positions", "forces", "energy", "vectors", "distances", "cell", "charge", "errors", "s", "numbers"]
)
def test_a_quantity_without_unit_is_found(tmp_path, name):
    assert lacking(tmp_path, name, "Shape (n_atoms, 3).") == ["unit"]
    assert lacking(tmp_path, name, "Shape (n_atoms, 3), no unit.") == ["unit"]
    assert lacking(tmp_path, name, "Shape (n_atoms, 3), Å.") == []


def test_indices_counts_and_flags_need_no_unit(tmp_path):
    assert lacking(tmp_path, "order", "Shape (n_atoms,), int64.") == []
    assert lacking(tmp_path, "keep", "Shape (n_atoms,), bool.") == []
    assert lacking(tmp_path, "centers", "Shape (n_edges,).") == []


def test_an_integer_type_of_one_argument_excuses_no_other(tmp_path):
    path = tmp_path / "imagined.py"
    path.write_text('def f(x: Tensor) -> None:\n    """Do for x (n_atoms, 3) and order (n_atoms,), int64."""\n')
    assert [line.split()[-1] for line in missing_in(path)] == ["unit"]
