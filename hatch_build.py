"""Compiles the CPU kernel when the package is built or installed, if there is a compiler; never fails for it."""

from __future__ import annotations

import platform
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


def platform_tag() -> str:
    """Return the platform that a library compiled here runs on, such as ``linux_x86_64``.

    A macOS Python may be for both processors, but the compiler makes code for the one at hand.
    """
    return sysconfig.get_platform().replace("universal2", platform.machine()).replace("-", "_").replace(".", "_")


class CPUKernelHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the library beside the sources, and into the wheel, which is then one for this platform."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say so to hatchling; without a compiler the wheel is a pure one and compiles on first use."""
        sys.path.insert(0, self.root)
        try:
            from mlff_core.kernels import build
        finally:
            sys.path.remove(self.root)
        target = build.installed_library()
        compiler = build.find_compiler()
        try:
            if not target.exists():
                if compiler is None:
                    raise build.BuildError("no C++ compiler was found")
                for stale in target.parent.glob("mlff_cpu-*.so"):
                    stale.unlink()
                build.compile_library(target, compiler)
        except (build.BuildError, OSError) as error:
            self.app.display_warning(f"the CPU kernel is not in this build, and is compiled on first use: {error}")
            return
        if version != "editable":
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform_tag()}"
            build_data["artifacts"].append(str(target.relative_to(Path(self.root)).as_posix()))
