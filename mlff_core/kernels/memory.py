"""How much memory there is to use: the machine's, or less where a container, batch system or service sets a limit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def usable_memory(root: Path = Path("/")) -> int:
    """Return the machine's memory or the lowest limit of the control groups above this process, bytes.

    A great number where the system does not say.

    Parameters
    ----------
    root
        Where ``proc`` and ``sys`` are mounted.
    """
    return min(_physical_memory(), *_group_limits(root))


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 2**62


def _group_limits(root: Path) -> Iterator[int]:
    """Yield the limits of this process's groups and all above them: the second version's, the first's memory groups'.

    Inside a container the path that ``/proc`` names may be that of the host; what is mounted is then the container's
    own, and the walk up ends there.
    """
    yield 2**62
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            mounted, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            mounted, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        own = PurePosixPath(path.lstrip("/"))
        for group in (own, *own.parents):
            try:
                text = (mounted / group / name).read_text().strip()
            except OSError:
                continue
            if text.isdecimal():  # "max" is none
                yield int(text)
