# One image for collector and API: the command says which.
FROM python:3.11.15-slim AS build
WORKDIR /build
COPY requirements/build.txt requirements/server.txt requirements/
RUN python -m venv /opt/scrapewatch \
    && /opt/scrapewatch/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes \
        -r requirements/build.txt -r requirements/server.txt
WORKDIR /srv/scrapewatch
COPY pyproject.toml README.md ./
COPY scrapewatch scrapewatch
COPY embedded embedded
COPY influx influx
COPY records records
COPY grafana grafana
COPY collector collector
COPY api api
COPY stack stack
RUN /opt/scrapewatch/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation --editable . \
    && python -m compileall -q .

FROM python:3.11.15-slim
# The folders are volumes' mount points: a new volume takes over their owner.
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/scrapewatch scrapewatch \
    && install -d -o scrapewatch -g scrapewatch -m 0700 /var/lib/scrapewatch/data /var/lib/scrapewatch/tokens /var/lib/scrapewatch/readers \
    && install -d -o scrapewatch -g scrapewatch -m 0755 /var/lib/scrapewatch/reader
COPY --from=build /opt/scrapewatch /opt/scrapewatch
COPY --from=build /srv/scrapewatch /srv/scrapewatch
ENV PATH=/opt/scrapewatch/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    SCRAPEWATCH_DATA_DIR=/var/lib/scrapewatch/data SCRAPEWATCH_LOG_FORMAT=json
WORKDIR /srv/scrapewatch
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# Whether the process lives. Not /readyz: a store that is down makes it not ready, and a restart would not help.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
# No shell in between: the signal reaches Python, which is the first process.
ENTRYPOINT ["scrapewatch"]
CMD ["--help"]
