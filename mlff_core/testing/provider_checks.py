"""Checks shared by all contracts: the description of a provider, and its import without its packages."""

from __future__ import annotations

from mlff_core.plugins.provider import Provider
from mlff_core.testing import isolation


def check_says_what_it_is(provider: Provider, kind: str) -> None:
    """Check that a provider has a name and a summary, says how to install what it needs, and has it installed.

    Parameters
    ----------
    provider
        An engine, exporter, runtime or teacher.
    kind
        For the message, such as ``"an engine"``.

    Raises
    ------
    AssertionError
        Something is missing; the message says what.
    """
    if not provider.name or not provider.summary:
        raise AssertionError("name and summary must not be empty")
    if isolation.optional_distributions(provider) and not provider.install_hint:
        raise AssertionError(f"{kind} that needs a package must say in install_hint how to install it")
    if provider.missing():
        raise AssertionError(f"not installed, so nothing can be checked: {'; '.join(provider.missing())}")


def check_plugin_is_light(
    provider: Provider, module: str | None = None, forbidden_modules: tuple[str, ...] | None = None
) -> None:
    """Check that importing a provider's module does not import its packages.

    Parameters
    ----------
    provider
        An engine, exporter, runtime or teacher.
    module
        The plugin's module; None for that of the provider's class.
    forbidden_modules
        Modules it must not import; None for those of the packages that it needs.

    Raises
    ------
    AssertionError
        One of them was imported; the message names all of them.
    """
    if forbidden_modules is None:
        forbidden_modules = isolation.import_names(isolation.optional_distributions(provider))
    isolation.check_import_is_light(module or type(provider).__module__, forbidden_modules)


def check_hint_without_packages(provider: Provider, use: str) -> None:
    """Check that a provider without its packages still imports, and that ``use`` raises an error with the install hint.

    See :func:`mlff_core.testing.isolation.check_absence_is_explained` for ``use`` and for the errors; all packages that
    the provider needs beyond those of the core are hidden.
    """
    distributions = isolation.optional_distributions(provider)
    isolation.check_absence_is_explained(provider, use, distributions, isolation.import_names(distributions))
