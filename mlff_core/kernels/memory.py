"""The memory this process may use: that of the machine, or less if a container, batch system or service limits it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def usable_memory(root: Path = Path("/")) -> int:
    """Return the machine's memory or the lowest limit of the control groups above this process, bytes.

    Returns 2**62 if the system does not report its memory.

    Parameters
    ----------
    root
        Folder in which ``proc`` and ``sys`` are mounted.
    """
    return min(_physical_memory(), *_group_limits(root))


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 2**62


def _group_limits(root: Path) -> Iterator[int]:
    """Yield the memory limits of this process's control groups and all groups above them, of versions 1 and 2.

    Inside a container ``/proc`` may name the path of the host, while the mounted folder is that of the container; the
    walk up then ends at the container's group.
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
            if text.isdecimal():  # "max" means no limit
                yield int(text)
