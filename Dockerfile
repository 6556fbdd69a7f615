# One image for every service: the command says which (`api`, `ingest`, `worker`, `migrate`, …).
# Nothing is written outside of /data and /tmp, so its root may be read-only, and it needs no root.
# /data is for the embedded PostgreSQL alone: without PG_URL, mount a volume there.

# The Python that the tests run on.
ARG PYTHON=python:3.11.14-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/app && python -m venv /opt/builder
WORKDIR /build
# What changes rarely comes first: a change of the code alone installs nothing again.
COPY requirements requirements
RUN /opt/app/bin/pip install --require-hashes --requirement requirements/runtime.txt
# The build backend with its own dependencies, by the hashes of the same lock: nothing unlocked.
RUN awk '/^[^ #]/ { wanted = /^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/ } wanted' \
        requirements/dev.txt > backend.txt \
    && /opt/builder/bin/pip install --require-hashes --requirement backend.txt
COPY LICENSE README.md pyproject.toml ./
COPY src src
RUN /opt/builder/bin/pip wheel --no-deps --no-build-isolation --wheel-dir . . \
    && /opt/app/bin/pip install --no-deps payment_manager-*.whl \
    && /opt/app/bin/pip uninstall --yes pip setuptools

FROM ${PYTHON}
# Fixed numbers, so that an orchestrator can check that it isn't root, and give /data to it; a name,
# since PostgreSQL refuses a user without one.
RUN groupadd --gid 10001 app \
    && useradd --uid 10001 --gid app --home-dir /data --no-create-home --shell /usr/sbin/nologin app \
    && install --directory --owner app --group app --mode 0700 /data
COPY --from=build /opt/app /opt/app
# Every service listens on 3000 inside; which ports they get outside is said where they are run.
ENV PATH=/opt/app/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    BIND_ADDRESS=0.0.0.0 \
    PORT=3000 \
    DATA_DIR=/data \
    LOG_FORMAT=json
WORKDIR /opt/app
USER 10001:10001
EXPOSE 3000
# There is no curl in here, and none is needed.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-IS", "-c", "import http.client as h, sys; c = h.HTTPConnection('127.0.0.1', 3000, timeout=4); c.request('GET', '/health/ready'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["payment-manager"]
CMD ["api"]
