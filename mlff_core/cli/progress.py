"""Progress bars on stderr; nothing is shown if that is not a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bar(
    title: str, total: int, *, done: int = 0, note: Callable[[float], str] | None = None
) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with the number of finished items out of ``total``.

    Parameters
    ----------
    title
        Title of the bar.
    total
        Number of items.
    done
        Number of items finished before.
    note
        Makes a short text behind the bar from the rate, 1/s.
    """
    import time

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    began, begin_at = time.perf_counter(), done
    with Progress(*columns, TextColumn("{task.fields[note]}"), console=console, transient=True) as progress:
        task = progress.add_task(title, total=total, completed=done, note="")
        shown = began

        def advance(count: int) -> None:
            nonlocal shown
            now = time.perf_counter()
            if now - shown < 0.1 and count < total:
                return
            shown = now
            text = note((count - begin_at) / (now - began)) if note is not None else ""
            progress.update(task, completed=count, note=text)

        yield advance
