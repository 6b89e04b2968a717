# One image, two programs: `holdfast` (the default) and `python -m mock_provider`.
FROM python:3.12-slim AS build
WORKDIR /src
RUN python -m venv /opt/holdfast
ENV PATH=/opt/holdfast/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# What the project needs to run and to be built, at the versions of the lock; nothing of the dev extra.
COPY pyproject.toml requirements.lock ./
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb')); print(*p['project']['dependencies'], sep='\n')" > runtime.txt \
 && pip install --only-binary :all: -c requirements.lock -r runtime.txt setuptools
COPY README.md LICENSE ./
COPY proxy proxy
COPY mock_provider mock_provider
RUN pip install --no-deps --no-build-isolation . && pip uninstall -y setuptools pip

FROM python:3.12-slim
COPY --from=build /opt/holdfast /opt/holdfast
WORKDIR /app
COPY config.yaml ./
ENV PATH=/opt/holdfast/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 3000
# Both programs answer /healthz on PORT.
HEALTHCHECK --interval=5s --timeout=3s --start-period=15s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + (os.environ.get('PORT') or '3000') + '/healthz', timeout=2)"]
CMD ["holdfast", "serve"]
