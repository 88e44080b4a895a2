"""Registration of the QCEngine program ``mlff`` in this process."""

from __future__ import annotations

from mlff_core.plugins.requirements import require

REQUIRES = ("qcengine>=0.50,<0.70", "pydantic>=2.11")
INSTALL_HINT = 'pip install "mlff-hub[qcengine]"'


def register() -> None:
    """Register ``mlff`` as a program of QCEngine in this process; a second call has no effect.

    Raises
    ------
    MissingDependencyError
        QCEngine is not installed.

    Examples
    --------
    >>> register()
    >>> import qcengine
    >>> "mlff" in qcengine.list_available_programs()
    True
    """
    require("qcengine", REQUIRES, INSTALL_HINT)
    import qcengine

    from mlff_plugins.qcengine.harness import MLFFHarness

    if "mlff" not in qcengine.list_all_programs():
        qcengine.register_program(MLFFHarness())
