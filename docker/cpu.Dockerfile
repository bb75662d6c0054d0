# Sotto on CPUs: what `make run` starts, in one container. docs/docker.md says how to use it.
# To build from a mirror or from a fixed digest, pass --build-arg PYTHON_IMAGE=...
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
# Another package index, as in docs/settings.md.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV SOTTO_VENV=/opt/venv
WORKDIR /opt/sotto
COPY requirements/cpu.lock requirements/
COPY tools/bootstrap.py tools/
# What `make setup` runs, but for the project itself: these gigabytes stay as they are when code changes.
RUN --mount=type=cache,target=/root/.cache/pip python tools/bootstrap.py --no-project

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Sotto (CPU)" org.opencontainers.image.licenses="Apache-2.0"
# libnuma1: vLLM's CPU kernels load it. tini: reaps what a killed engine leaves behind and passes signals on.
# No versions: Debian's archive keeps only the newest, with its security fixes.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libnuma1 tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --user-group --uid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin sotto \
    && install --directory --owner=sotto --group=sotto --mode=0700 /data
COPY --from=build /opt/venv /opt/venv
WORKDIR /opt/sotto
COPY . .
RUN SOTTO_VENV=/opt/venv python tools/bootstrap.py
# 0.0.0.0 within the container's own network: Docker hands a published port to that address, not to its loopback.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/data \
    SOTTO_HOME=/data \
    SOTTO_HOST=0.0.0.0 \
    SOTTO_PORT=8000
USER 10001:10001
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=5m --retries=4 \
    CMD ["/opt/venv/bin/python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['SOTTO_PORT']), timeout=4); c.request('GET', '/readyz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["tini", "--", "sotto"]
CMD ["up"]
