# The proxy, for amd64 and arm64. Build from the root of the repository:
#   docker build -f docker/proxy.Dockerfile --target proxy -t vibevoice-proxy .      no torch; speech with hibari and espeak
#   docker build -f docker/proxy.Dockerfile --target speech -t vibevoice-speech .    torch for CUDA 13; VibeVoice speech models
# To pin the base image, pass its digest: --build-arg PYTHON_IMAGE=python@sha256:…
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
RUN pip install --no-cache-dir uv==0.13.9 && uv venv /opt/vibevoice
WORKDIR /src
COPY . .

FROM build AS build-proxy
RUN UV_NO_CACHE=1 docker/install.sh proxy /opt/vibevoice/bin/python

FROM ${PYTHON_IMAGE} AS base
RUN useradd --uid 10001 --home-dir /cache --create-home vibevoice \
    && install -d -o vibevoice -g vibevoice /spool /voices
ENV HOME=/cache \
    PATH=/opt/vibevoice/bin:$PATH \
    API_HOST=0.0.0.0 \
    API_PORT=8899 \
    HF_HUB_OFFLINE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /cache
EXPOSE 8899
# Liveness; /health also reports whether the engine and speech models are ready.
HEALTHCHECK --interval=10s --timeout=5s --retries=3 --start-period=30s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"API_PORT\"]}/health/live', timeout=4)"]
ENTRYPOINT ["python", "-m", "vibevoice_proxy"]

FROM base AS proxy
COPY --from=build-proxy /opt/vibevoice /opt/vibevoice

# Declared here because the classic builder builds every stage before the target.
FROM build AS build-speech
RUN UV_NO_CACHE=1 docker/install.sh speech /opt/vibevoice/bin/python

FROM base AS speech
# Without a usable GPU, it reports an error; it uses the CPU only with VIBEVOICE_TTS_DEVICE=cpu.
ENV VIBEVOICE_TTS_VOICE_CACHE=/cache/voices \
    VIBEVOICE_TTS_DEVICE=cuda
COPY --from=build-speech /opt/vibevoice /opt/vibevoice
