# syntax=docker/dockerfile:1
# One image for flow runs, Prefect workers, Dask schedulers and workers, with or without a GPU.
#
#   docker build -t irrev .                               PyTorch as the package index builds it
#   docker build -t irrev --build-arg TORCH_INDEX=URL .   ... from PyTorch's index of CPU wheels
#   docker build -t irrev:cuda --build-arg DEVICE=cuda .  refuses a PyTorch without CUDA
#
# CUDA's libraries come with PyTorch; the host needs only the driver and its container toolkit.
ARG BASE=python:3.11.13-slim-bookworm

FROM ${BASE} AS build
ARG DEVICE=cpu
ARG TORCH_INDEX=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /app
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
# what is installed depends on these files only: a change of code makes no new layer of packages
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY irrev/__init__.py irrev/__init__.py
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -c constraints.txt \
      -e '.[run,torch,diffusion,encoder,kubernetes]' \
 && if [ "$DEVICE" = cuda ]; then \
      python -c 'import sys, torch; sys.exit(not torch.version.cuda and "DEVICE=cuda, but this PyTorch has no CUDA: change TORCH_INDEX")'; \
    fi

FROM ${BASE}
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 \
    MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=67108864 \
    DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED=False \
    DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL=500ms \
    DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL=2s \
    DASK_DISTRIBUTED__WORKER__MEMORY__MONITOR_INTERVAL=500ms \
    CUBLAS_WORKSPACE_CONFIG=:4096:8 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1 \
    PREFECT_HOME=/data/prefect XDG_DATA_HOME=/data/share \
    HEALTH_URL=
RUN groupadd --gid 10001 irrev \
 && useradd --uid 10001 --gid irrev --create-home irrev \
 && install -d -o irrev -g irrev /data /certs
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE pipeline.yaml prefect.yaml ./
COPY irrev irrev
COPY storage storage
COPY tasks tasks
COPY flows flows
COPY deploy/kubernetes/run.yaml deploy/kubernetes/run.yaml
# the code belongs to root: what runs cannot change it
RUN python -m compileall -q irrev storage tasks flows
USER 10001:10001
VOLUME /data
# long-lived services name their own page; a single run has none and is healthy while it runs
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as r; u = os.environ['HEALTH_URL']; u and r.urlopen(u, timeout=8)"]
CMD ["python", "-m", "flows", "--help"]
