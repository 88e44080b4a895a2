"""The exceptions that the library raises on purpose.

The command line prints an :class:`MlffError` as one line and exits with status 1. Any other exception is a
bug and keeps its traceback. A message states what was wanted, what was given, and what to do.
"""

from __future__ import annotations


class MlffError(Exception):
    """An error that a user can correct; base of every error of this package."""


class InputError(MlffError, ValueError):
    """An input (structure, number, option, config, data set) that cannot be used as it is."""


class OverlapError(InputError):
    """Atoms at one place, or nearly so; see :data:`mlff_core.structures.neighbors.OVERLAP`."""


class UnsupportedError(MlffError):
    """A valid request that this model, engine or file does not support: an element, a charge, a property."""


class MissingDependencyError(MlffError, ImportError):
    """An optional package that is not installed; the message contains the command that installs it."""


class PluginError(MlffError):
    """A plugin that is broken, unknown, or clashes with another."""


class CheckpointError(MlffError):
    """A model file that is damaged, of another project, too new, or contains code."""


class OffDomainError(MlffError):
    """A structure unlike any in the training data; see :class:`mlff_core.potentials.guard.Guard`."""


class UncertaintyError(MlffError):
    """A predicted uncertainty above the user's limit; see :class:`mlff_core.potentials.watched.WatchedPotential`."""


def first_line(error: BaseException) -> str:
    r"""Return the first line of an error's text, or the name of its class where it has none.

    Examples
    --------
    >>> first_line(RuntimeError("no such file\n  in line 3"))
    'no such file'
    """
    # A KeyError's text is only the key.
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
