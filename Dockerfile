# The service as an image; docs/container.md says how to run it.
#
#     docker build -t captions .                                    for NVIDIA GPUs, and for CPUs
#     docker build -t captions:cpu --build-arg TORCH_INDEX=… .      for CPUs alone: much smaller
#
#     base ─▶ packages        what pip installs: stays behind, but for /opt/venv
#       └───▶ service
#
# The digest is that of the tag in September 2026 (Python 3.11.16). Without one: --build-arg PYTHON_DIGEST=
ARG PYTHON_TAG=3.11-slim-bookworm
ARG PYTHON_DIGEST=@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM python:${PYTHON_TAG}${PYTHON_DIGEST} AS base
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1


FROM base AS packages
# PyTorch's own CPU index, for a build of torch without CUDA; empty: the usual build
ARG TORCH_INDEX=
WORKDIR /build
COPY requirements.installed.txt .
# As scripts/setup.sh does it, and for its reasons. Nothing needs a compiler: what has no wheel is plain Python.
RUN python3 -m venv /opt/venv \
    && grep -E '^(torch|torchvision)==' requirements.installed.txt > torch.txt \
    && grep -E '^(salesforce-lavis|fairscale)==' requirements.installed.txt > without-dependencies.txt \
    && grep -vE '^(salesforce-lavis|fairscale)==' requirements.installed.txt > with-dependencies.txt \
    && if [ -n "$TORCH_INDEX" ]; then pip install --no-cache-dir --no-deps --index-url "$TORCH_INDEX" -r torch.txt; fi \
    && pip install --no-cache-dir -r with-dependencies.txt \
    && pip install --no-cache-dir --no-deps --no-build-isolation -r without-dependencies.txt \
    && pip uninstall --yes pip


FROM base AS service
ARG PYTHON_TAG
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="captions" \
      org.opencontainers.image.description="A self-hosted image captioning service: a picture in, a caption and emojis out" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/python:${PYTHON_TAG}"
# /cache is writable for everybody, as /tmp is, so that --user may name any user. /root can be passed through,
# because the commands of the old service mount their weights at /root/.cache/torch.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends 'tini=0.19.*' \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 captions \
    && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /cache --shell /usr/sbin/nologin captions \
    && mkdir -p /cache /images /root/.cache/torch \
    && chown 10001:10001 /cache /images \
    && chmod 1777 /cache \
    && chmod 755 /root /root/.cache /root/.cache/torch
# Everything that libraries keep goes below /cache, in torch/, huggingface/ and captions/.
# NVIDIA's container toolkit hands in the parts of the driver that are named here.
ENV CAPTIONS_CONTAINER=1 \
    HOME=/cache \
    XDG_CACHE_HOME=/cache \
    PYTHONDONTWRITEBYTECODE=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=packages /opt/venv /opt/venv
WORKDIR /app
COPY . .
RUN chmod -R a+rX . \
    && python -m compileall -q --invalidation-mode unchecked-hash REST.py config scripts services
VOLUME ["/cache", "/images"]
EXPOSE 7777
USER 10001:10001
# It answers while a model downloads and while the queue is full
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["python", "-m", "scripts.container_health"]
ENTRYPOINT ["tini", "--"]
CMD ["python", "-m", "scripts.container_start"]
