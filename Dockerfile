# Two images from one file: `docker build --target operator .` and `docker build --target trainer .`
# The operator never carries torch; the trainer never carries a Kubernetes client.
ARG PYTHON=python:3.13-slim-bookworm

FROM ${PYTHON} AS build
WORKDIR /source
COPY requirements/bootstrap.txt requirements/
RUN pip install --no-cache-dir --require-hashes -r requirements/bootstrap.txt
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
COPY trainer trainer
RUN uv build --wheel --out-dir /wheels

FROM build AS operator-environment
COPY requirements/operator.txt requirements/
RUN uv venv /environment && uv pip install --python /environment/bin/python --require-hashes -r requirements/operator.txt \
 && uv pip install --python /environment/bin/python --no-deps /wheels/*.whl

FROM build AS trainer-environment
COPY requirements/trainer.txt requirements/
RUN uv venv /environment && uv pip install --python /environment/bin/python --require-hashes -r requirements/trainer.txt \
 && uv pip install --python /environment/bin/python --no-deps /wheels/*.whl

FROM ${PYTHON} AS base
# LOGNAME: torch names its cache folder after the user, who is not in /etc/passwd.
ENV PATH=/environment/bin:$PATH PYTHONUNBUFFERED=1 HOME=/tmp LOGNAME=masktrain
USER 65532:65532
WORKDIR /tmp

FROM base AS operator
COPY --from=operator-environment /environment /environment
ENTRYPOINT ["masktrain-operator"]

FROM base AS trainer
USER 0:0
# torch.compile (training.compile) builds what starts its kernels with a C++ compiler. Class names on pictures take a font
# that has their letters (Apache-2.0; matplotlib's own has no Chinese, Japanese or Korean), and one library to arrange
# those that run to the left.
RUN apt-get update && apt-get install --no-install-recommends --yes g++ fonts-droid-fallback libfribidi0 \
 && rm -rf /var/lib/apt/lists/*
USER 65532:65532
COPY --from=trainer-environment /environment /environment
ENTRYPOINT ["masktrain"]
