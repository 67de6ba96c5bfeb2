# docker build -t bridge . && docker run -p 127.0.0.1:8080:8080 -v "$PWD/data:/data" bridge
# /data holds bridge.toml and the SQLite database, and belongs to user 10001. docs/deploy.md has the whole way.
ARG PYTHON=3.12-slim

# --- one: everything into /opt/bridge, what is not ours by its hash; the same steps as in the Makefile ---
FROM python:${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements/ requirements/
RUN pip install --require-hashes -r requirements/build.txt \
 && python -m venv /opt/bridge \
 && /opt/bridge/bin/python -m pip install --require-hashes -r requirements/run.txt
COPY pyproject.toml README.md ./
COPY mappings/ mappings/
COPY bridge/ bridge/
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
 && /opt/bridge/bin/python -m pip install --no-deps /dist/bridge-*.whl \
 && /opt/bridge/bin/python -m pip uninstall --yes pip

# --- two: what runs ---
FROM python:${PYTHON}
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin bridge \
 && install --directory --owner bridge --group bridge --mode 0700 /data
COPY --from=build /opt/bridge /opt/bridge
ENV PATH="/opt/bridge/bin:$PATH" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# SQLite comes with the image of Python; which version is needed, the code says.
RUN ["python", "-c", "from bridge.store.sqlite.library import SQLITE_NEEDED as needed, sqlite_version as version; assert version() >= needed, f'SQLite {version()} is older than {needed}'"]
# By its number: Kubernetes cannot see that a name is not root's.
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
# Another server.port needs another health check. http.client, for urllib would go through a proxy of the environment.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', 8080, timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
# SIGTERM drains for up to 10 seconds: give it 15 (docker stop --time 15; compose.yaml does).
CMD ["bridge", "serve", "--host", "0.0.0.0"]
