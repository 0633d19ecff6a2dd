# LiteLLM with our callback, for amd64 and arm64; mount its configuration. Build from the root of the repository:
#   docker build -f docker/litellm.Dockerfile -t vibevoice-litellm .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
FROM ${PYTHON_IMAGE} AS build
RUN pip install --no-cache-dir uv==0.13.9 && uv venv /opt/litellm
WORKDIR /src
COPY . .
RUN UV_NO_CACHE=1 docker/install.sh litellm /opt/litellm/bin/python

FROM ${PYTHON_IMAGE}
RUN useradd --uid 10001 --home-dir /cache --create-home litellm
ENV HOME=/cache \
    PATH=/opt/litellm/bin:$PATH \
    PYTHONUNBUFFERED=1
COPY --from=build /opt/litellm /opt/litellm
COPY litellm/custom_callbacks.py /etc/litellm/
USER 10001:10001
WORKDIR /cache
EXPOSE 4000
HEALTHCHECK --interval=10s --timeout=5s --retries=3 --start-period=2m \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:4000/health/liveliness', timeout=4)"]
ENTRYPOINT ["litellm", "--config", "/etc/litellm/config.yaml", "--host", "0.0.0.0", "--port", "4000"]
