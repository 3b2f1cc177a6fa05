FROM python:3.12-slim AS build
RUN python -m venv /installer && python -m venv --without-pip /venv
COPY requirements/run.txt /
RUN /installer/bin/pip --python /venv/bin/python install --no-cache-dir --no-compile --require-hashes -r /run.txt
WORKDIR /app
COPY manifests/catalog.yaml manifests/catalog.yaml
COPY manifests/engines manifests/engines
COPY manifests/web-ui manifests/web-ui
COPY bot bot
COPY tools/image.py /image.py
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONPYCACHEPREFIX=/bytecode
RUN /venv/bin/python /image.py slim && /venv/bin/python /image.py compile

FROM python:3.12-slim
# What only builds need of the base: pip, and lists of packages.
RUN rm -rf /usr/local/lib/python3*/site-packages/* /usr/local/bin/pip* /usr/local/lib/python3*/ensurepip \
    /usr/lib/python3*/ensurepip /usr/share/python-wheels /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home --home-dir /home/llm llm
WORKDIR /app
COPY --from=build /venv /venv
COPY --from=build /bytecode /bytecode
COPY --from=build /app /app
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPYCACHEPREFIX=/bytecode MPLCONFIGDIR=/tmp/matplotlib
ARG VERSION=""
ARG REVISION=""
ARG SOURCE=""
LABEL org.opencontainers.image.title="llm-bot" \
      org.opencontainers.image.description="Deploy vLLM models on a shared GPU cluster from a chat, ask them, and give the GPUs back." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source=$SOURCE \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$REVISION
USER 10001
ENTRYPOINT ["python", "-m", "bot"]
CMD ["run"]
