FROM python:3.12-slim AS build
WORKDIR /app
COPY requirements/run.txt .
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r run.txt

FROM python:3.12-slim
RUN useradd --uid 10001 --create-home --home-dir /home/llm llm
WORKDIR /app
COPY --from=build /venv /venv
COPY manifests/catalog.yaml manifests/catalog.yaml
COPY manifests/engines manifests/engines
COPY manifests/web-ui manifests/web-ui
COPY bot bot
RUN /venv/bin/python -m compileall -q bot
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
ENTRYPOINT ["python", "-m", "bot"]
CMD ["run"]
