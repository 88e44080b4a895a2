#!/usr/bin/env bash
# Download the wheels that a GPU machine without a network needs beside its torch and Triton, for Linux on x86-64.
#
#   benchmarks/speed/gpu_wheels.sh [PYTHON_VERSION] [FOLDER]      # 3.12 and .gpu-wheels, which git ignores, by default
#
# There, in the root of this repository with the folder in it:
#
#   python3 -m pip install -q --no-index --no-deps --no-compile --upgrade --target /tmp/site .gpu-wheels/*.whl
#   PYTHONPATH=.:/tmp/site python -m benchmarks gpu --out FOLDER
#
# Versions are fixed and needs are not followed: torch-sim names packages that it can do without, of over 100 MB. What is
# expected there: click, h5py, httpx, matplotlib, msgpack, numpy, packaging, pluggy, py-cpuinfo, pytest, pytest-timeout,
# rich, scipy, tqdm; a missing one is named by the error of its import and goes into the list below.
set -euo pipefail

version=${1:-3.12}
folder=${2:-$(dirname "$0")/../../.gpu-wheels}

platforms=()
for n in 28 27 24 17 12 5; do
    platforms+=(--platform "manylinux_2_${n}_x86_64")
done
platforms+=(--platform manylinux2014_x86_64 --platform manylinux2010_x86_64 --platform manylinux1_x86_64)

# Two versions of one package would stop the installation.
mkdir -p "$folder"
rm -f "$folder"/*.whl
python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: \
    --python-version "$version" --implementation cp "${platforms[@]}" -d "$folder" \
    ase==3.29.0 tomli-w==1.2.0 vesin==0.6.2 \
    torch-sim-atomistic==0.6.2 tables==3.11.1 blosc2==4.14.1 ndindex==1.10.1 numexpr==2.14.2
du -sh "$folder"
