"""Progress of a run in the terminal."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from mlff_core.training.loss import TERMS

if TYPE_CHECKING:
    from rich.console import Console


class Reporter:
    """Receives the progress of a run and does nothing; the command line uses :class:`TerminalReporter`."""

    def step(self, step: int, progress: float, values: dict[str, float], rate: float, seconds_left: float) -> None:
        """Report a step.

        Parameters
        ----------
        step
            Number of the step.
        progress
            Fraction of the run that is done, 0–1.
        values
            Loss, its terms, ``lr``, ``epoch``.
        rate
            Structures per second.
        seconds_left
            Estimated time to the end of this call, s.
        """

    def validated(self, step: int, metrics: dict[str, float], is_best: bool) -> None:
        """Report a validation."""

    def message(self, text: str) -> None:
        """Report a message."""

    def __enter__(self) -> Reporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class TerminalReporter(Reporter):
    """A live line with losses, rate and time left, and a line for each validation, on standard error.

    The live line is left out if standard error is not a terminal.

    Parameters
    ----------
    console
        Console to write to instead of standard error.
    """

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._console: Any = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._live: Any = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.percentage:>4.1f} % {task.fields[text]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task: Any = None

    def __enter__(self) -> Reporter:
        self._live.start()
        self._task = self._live.add_task("training", total=1.0, text="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def step(self, step: int, progress: float, values: dict[str, float], rate: float, seconds_left: float) -> None:
        """Show the live line."""
        terms = ", ".join(f"{name.replace('_', ' ')} {values[name]:.3g}" for name in TERMS if name in values)
        text = (
            f"step {step}, epoch {values['epoch']:.2f}, loss {values['loss']:.4g} ({terms}), lr {values['lr']:.2g}, "
            f"{rate:.0f} structures/s, {_clock(seconds_left)} left"
        )
        self._live.update(self._task, completed=progress, text=text)

    def validated(self, step: int, metrics: dict[str, float], is_best: bool) -> None:
        """Print a validation."""
        self._console.print(
            f"step {step}: force MAE {metrics['force_mae']:.4f} eV/Å, RMSE {metrics['force_rmse']:.4f}, "
            f"R² {metrics['force_r2']:.4f}; energy MAE {metrics['energy_mae_mev_per_atom']:.2f} meV/atom; "
            f"loss {metrics['loss']:.5g}{' (best)' if is_best else ''}"
        )

    def message(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, markup=False)  # brackets in file names are not markup


def _clock(seconds: float) -> str:
    if not seconds < 1e7:
        return "–"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
