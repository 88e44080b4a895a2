"""The students that a kernel or an export supports, and the refusal of others."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlff_core.errors import UnsupportedError
from mlff_core.model.student import Student


@dataclass(frozen=True)
class Serves:
    """The architectures and terms that a kernel other than the reference, or an export, supports.

    Parameters
    ----------
    consumer
        The kernel or export, as an error message names it: ``"the kernel 'cpu'"``.
    instead
        What to use for other students.
    architectures
        Names from :data:`mlff_core.model.architectures.ARCHITECTURES`.
    terms
        Names from :data:`mlff_core.model.architectures.TERMS`.
    needs
        Terms that are always computed, so that a student without them is refused too.
    """

    consumer: str
    instead: str
    architectures: frozenset[str] = field(default=frozenset({"PaiNN"}), kw_only=True)
    terms: frozenset[str] = field(default=frozenset({"zbl"}), kw_only=True)
    needs: frozenset[str] = field(default=frozenset({"zbl"}), kw_only=True)

    def refusal(self, student: Student) -> str:
        """Return why a student is refused and what to do, or "" if it is supported."""
        if student.architecture not in self.architectures:
            names = ", ".join(sorted(self.architectures))
            return f"{self.consumer} computes {names}, but this is a {student.architecture}; {self.instead}"
        names = ", ".join(sorted(self.terms)) or "none"
        if extra := [repr(name) for name in student.terms if name not in self.terms]:
            return (
                f"the energy of this model has the term {', '.join(extra)}, which {self.consumer} does not compute "
                f"(its terms: {names}); {self.instead}"
            )
        if missing := [repr(name) for name in sorted(self.needs) if name not in student.terms]:
            return (
                f"the energy of this model lacks the term {', '.join(missing)}, which {self.consumer} always adds; "
                f"{self.instead}"
            )
        return ""

    def check(self, student: Student) -> None:
        """Refuse a student that is not supported.

        Raises
        ------
        UnsupportedError
            The architecture or a term is not supported; the message names it, the consumer, and what to use instead.
        """
        if reason := self.refusal(student):
            raise UnsupportedError(reason)
