"""Make an environment for each peer: ``python -m benchmarks make_envs DIR [PEER …]``.

DIR/PEER is a virtual environment of the running Python with the packages of PEER.txt (and, without dependencies, those
of PEER.no-deps.txt). Its ``peer.json`` is read by ``mlff benchmark --peer-envs DIR``. A complete environment is not
changed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent.resolve()
PEERS = sorted(path.stem for path in HERE.glob("*.py") if path.with_suffix(".txt").exists())


def make(peer: str, folder: Path) -> bool:
    """Make one environment and return success; ``peer.json`` comes last, so that an incomplete one is made again."""
    mark = folder / "peer.json"
    if mark.exists():
        print(f"{peer}: exists already", flush=True)
        return True
    print(f"{peer}: installing into {folder}", flush=True)
    if not (folder / "bin" / "python").exists():
        venv.create(folder, with_pip=True, symlinks=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    without = HERE / f"{peer}.no-deps.txt"
    commands = [["-r", str(HERE / f"{peer}.txt")], *([["--no-deps", "-r", str(without)]] if without.exists() else [])]
    if any(subprocess.run([*pip, *command], check=False).returncode for command in commands):
        return False
    mark.write_text(json.dumps({"python": "bin/python", "script": str(HERE / f"{peer}.py")}) + "\n")
    return True


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(f"{__doc__}\nPeers: {', '.join(PEERS)}")
    chosen = sys.argv[2:] or PEERS
    unknown = sorted(set(chosen) - set(PEERS))
    if unknown:
        sys.exit(f"no peer is called {', '.join(unknown)}; there are {', '.join(PEERS)}")
    failed = [peer for peer in chosen if not make(peer, Path(sys.argv[1]).resolve() / peer)]
    if failed:
        sys.exit(f"pip failed for {', '.join(failed)}")


if __name__ == "__main__":
    main()
