"""Active learning: a committee of students finds in its own dynamics what the teacher should label next."""

from mlff_core.active.run import Round, run_active
from mlff_core.active.settings import ActiveConfig

__all__ = ["ActiveConfig", "Round", "run_active"]
