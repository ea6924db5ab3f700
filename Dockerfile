# The bot with its index inside. Not run where it was written: no container engine was at hand (docs/operate.md).
FROM python:3.11-slim AS build
WORKDIR /app
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY kb kb
COPY ingest ingest
COPY bot bot
COPY evals evals
RUN /venv/bin/pip install "torch==2.13.0" --index-url https://download.pytorch.org/whl/cpu \
 && /venv/bin/pip install -c constraints.txt ".[openai,anthropic,ollama]"
# Vets, embeds and stores: torch is used here, to export the model, and never again.
RUN BACKTALK_INDEX=/data /venv/bin/backtalk ingest

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin backtalk
COPY --from=build /venv /venv
COPY --from=build --chown=10001:10001 /data /data
ENV PATH=/venv/bin:$PATH BACKTALK_INDEX=/data HOME=/tmp PYTHONDONTWRITEBYTECODE=1
USER 10001
WORKDIR /tmp
VOLUME /data
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/readyz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["backtalk"]
CMD ["serve", "--host", "0.0.0.0", "--port", "7860"]
