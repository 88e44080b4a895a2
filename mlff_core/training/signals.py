"""SIGINT (Ctrl-C) and SIGTERM during training."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from mlff_core.training.trainer import Trainer


@contextmanager
def stopped_by_signals(trainer: Trainer) -> Iterator[None]:
    """Make SIGINT and SIGTERM end a run after the current step with its state saved; a second SIGINT ends it at once.

    Use it in the main thread, the only one in which Python can set handlers.
    """

    def stop(number: int, frame: object) -> None:
        trainer.request_stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
