# Sotto on an NVIDIA GPU, with vLLM's CUDA build. docs/docker.md says how to use it and what it needs of the machine.
# CUDA's libraries come with the locked packages and the driver from the machine, so Python's image is enough.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
# Another package index, as in docs/settings.md.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
WORKDIR /opt/sotto
COPY requirements/gpu.lock requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv /opt/venv \
    && /opt/venv/bin/python -m pip install --disable-pip-version-check --no-input --no-deps --require-hashes -r requirements/gpu.lock

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Sotto (GPU)" org.opencontainers.image.licenses="Apache-2.0"
# g++: Triton and torch compile kernels' launchers while vLLM starts. tini: reaps what a killed engine leaves behind and
# passes signals on. No versions: Debian's archive keeps only the newest, with its security fixes.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ libnuma1 tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --user-group --uid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin sotto \
    && install --directory --owner=sotto --group=sotto --mode=0700 /data
COPY --from=build /opt/venv /opt/venv
WORKDIR /opt/sotto
COPY . .
RUN /opt/venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --no-input --no-deps --no-build-isolation --editable /opt/sotto
# 0.0.0.0 within the container's own network: Docker hands a published port to that address, not to its loopback.
# Compiled kernels are kept with the state, as /tmp need not allow programs. FlashInfer's sampler wants nvcc; torch's does not.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/data \
    SOTTO_HOME=/data \
    SOTTO_HOST=0.0.0.0 \
    SOTTO_PORT=8000 \
    TORCHINDUCTOR_CACHE_DIR=/data/.cache/torchinductor \
    VLLM_USE_FLASHINFER_SAMPLER=0 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=15m --retries=4 \
    CMD ["/opt/venv/bin/python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['SOTTO_PORT']), timeout=4); c.request('GET', '/readyz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["tini", "--", "sotto"]
CMD ["up"]
