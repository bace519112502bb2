# The server, without a GPU. See docs/how-to/serve.md.
FROM python:3.11.14-slim-bookworm

# torch and torchaudio of one build, without CUDA: the plain index would bring gigabytes of it.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN pip install --index-url "$TORCH_INDEX" "torch>=2.11,<2.15" "torchaudio>=2.11"

WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY modeling_decomp_ser modeling_decomp_ser
COPY processing processing
COPY train_scripts train_scripts
# What is installed is what was copied; pyproject.toml bounds the versions of the rest.
# hadolint ignore=DL3013
RUN pip install ".[serve,vad,video]" && rm -rf /source/*

# Nothing is written but caches, and these to what may be a temporary file system.
ENV PYTHONDONTWRITEBYTECODE=1 HOME=/tmp HF_HOME=/tmp/huggingface HF_HUB_DISABLE_TELEMETRY=1
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin server
USER 10001
WORKDIR /tmp

EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["decomp-ser", "serve", "/model", "--host", "0.0.0.0", "--port", "8000"]
