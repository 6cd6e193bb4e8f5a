# How to use it: docs/deploy/docker.md

FROM python:3.13-slim AS packages
RUN python -m venv /venv
COPY requirements.txt ./
RUN /venv/bin/pip install --quiet --no-cache-dir --no-deps --require-hashes -r requirements.txt

FROM python:3.13-slim
# Its own user, and a place for the database; mount a volume there. (A VOLUME line would make
# nameless ones, and Railway refuses it.)
RUN useradd --uid 1000 --user-group --no-create-home ownyourtrakt
RUN install --directory --owner=1000 --group=1000 --mode=0700 /data
COPY --from=packages /venv /venv
WORKDIR /app
COPY app app
COPY migrations migrations
# Where a platform opens a shell elsewhere (Fly does in /), the commands are found all the same.
ENV PATH=/venv/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1
RUN python -m compileall -q app migrations
ENV PORT=8000 DATABASE_URL=sqlite:////data/ownyourtrakt.db
USER 1000:1000
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s CMD ["python", "-c", "import os, sys, http.client as h; c = h.HTTPConnection('127.0.0.1', int(os.environ['PORT']), timeout=8); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
CMD ["python", "-m", "app", "serve"]
