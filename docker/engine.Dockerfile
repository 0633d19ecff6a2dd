# The ASR engine: vLLM's image with our plugin. Build from the root of the repository:
#   docker build -f docker/engine.Dockerfile -t vibevoice-engine .
# The base image supports amd64 and arm64. To pin it, pass its digest: --build-arg VLLM_IMAGE=vllm/vllm-openai@sha256:…
ARG VLLM_IMAGE=vllm/vllm-openai:v0.32.0
FROM ${VLLM_IMAGE}

WORKDIR /opt/vibevoice
COPY . .
RUN { command -v uv || python3 -m pip install --no-cache-dir uv==0.13.9; } \
    && UV_NO_CACHE=1 docker/install.sh engine "$(command -v python3)" \
    && useradd --uid 10001 --home-dir /cache --create-home vibevoice

# The root file system may be read-only: files compiled at run time go to the home directory.
ENV HOME=/cache \
    TORCHINDUCTOR_CACHE_DIR=/cache/inductor \
    ASR_HOST=0.0.0.0 \
    ASR_PORT=8006 \
    MODEL_DIR=/models \
    PYTHONUNBUFFERED=1 \
    VIBEVOICE_DEVICE=gpu \
    VIBEVOICE_WAIT_READY_SECS=0
USER 10001:10001
WORKDIR /cache
EXPOSE 8006
# Loading 16 GB from a slow disk may take half an hour.
HEALTHCHECK --interval=10s --timeout=5s --retries=3 --start-period=30m \
    CMD ["python3", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"ASR_PORT\"]}/health', timeout=4)"]
ENTRYPOINT ["python3", "-m", "vibevoice_vllm.launch"]
CMD []
