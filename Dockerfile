# syntax=docker/dockerfile:1
# Two stages: the first builds a virtual environment from the hash-pinned lock, the second holds only that.
FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY requirements.lock requirements-dev.lock ./
RUN python -m venv /opt/build && /opt/build/bin/pip install --require-hashes --no-deps --only-binary :all: -r requirements-dev.lock \
 && python -m venv /opt/shadow && /opt/shadow/bin/pip install --require-hashes --no-deps --only-binary :all: -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
COPY shadow shadow
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
 && /opt/shadow/bin/pip install --no-deps /dist/*.whl \
 && /opt/shadow/bin/pip uninstall --yes pip

FROM python:3.13-slim
LABEL org.opencontainers.image.title="shadow-gateway" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 shadow && useradd --uid 10001 --gid shadow --no-create-home --shell /usr/sbin/nologin shadow \
 && install -d -m 0700 -o shadow -g shadow /data
COPY --from=build /opt/shadow /opt/shadow
ENV PATH=/opt/shadow/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    SHADOW_LISTEN=0.0.0.0:8080 SHADOW_STORE=sqlite:////data/shadow.db
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s CMD ["shadow-gateway", "doctor", "--ready"]
# The root file system may be read-only (docker run --read-only): only /data is written.
# The admin port listens on 127.0.0.1 inside the container; to publish it, set SHADOW_ADMIN_LISTEN and SHADOW_ADMIN_TOKEN.
# Give the container a stop grace longer than the drain (docker run --stop-timeout 60).
ENTRYPOINT ["shadow-gateway"]
CMD ["serve"]
