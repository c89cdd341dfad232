# Every target installs what it needs: a machine needs only Python >= 3.11, make, git and its package registries' clients.
# `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 3
UV := $(BIN)/uv
NEWEST_TORCH := $(HOME)/.cache/masktrain/newest-torch
MEDIA_TOOLS := chromium ffmpeg gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good python3-gi xvfb
SOURCES := operator trainer devcluster tests examples benchmarks
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	--custom-compile-command "make lock" pyproject.toml

.PHONY: help setup check test test-quick test-newest-torch test-api test-cluster test-e2e media-tools fuzz bench-nodepool bench-train bench-train-learning bench-labels bench-detect demo demo-trees demo-down generate lock binaries clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

setup: $(VENV)/installed ## Create .venv with everything the project needs

$(VENV)/installed: requirements/bootstrap.txt requirements/dev.txt pyproject.toml
	@echo "setup: installing the locked dependencies into $(VENV) (about 3 GB on first use: torch and its CUDA libraries)"
	@test -x $(UV) || { $(PYTHON) -m venv --clear $(VENV) && $(BIN)/python -m pip install --quiet \
		--disable-pip-version-check --require-hashes -r requirements/bootstrap.txt; }
	@$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements/dev.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

check: setup ## Format, lint, types, layers, generated files (seconds)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports
	$(BIN)/python -m tests.layout
	$(BIN)/python -m masktrain_operator.api.crd --check

test: check binaries media-tools ## All tests: check, unit, API server, dev cluster, end to end (Linux and root), on WORKERS=3 processes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=$(WORKERS) --durations=10

test-quick: setup media-tools ## Tests that need neither a cluster nor root (a minute)
	$(BIN)/python -m pytest tests/unit tests/parity

# pyproject.toml's bounds on torch aside, everything else is as locked.
test-newest-torch: setup ## The trainer's tests on the newest torch there is, in an environment of its own (about 3 GB)
	@test -x $(NEWEST_TORCH)/bin/python || $(UV) venv --quiet --python $(BIN)/python $(NEWEST_TORCH)
	@grep -oE '^[a-z0-9.-]+(\[[a-z0-9,-]+\])?==[^ ]+( ; [^\]+)?' requirements/dev.txt \
		| grep -vE '^(torch|torchvision|triton|setuptools|nvidia-[a-z0-9-]+|cuda-[a-z]+)==' > $(NEWEST_TORCH)/pins.txt
	@printf 'torch>=2.11\ntorchvision>=0.26\n' > $(NEWEST_TORCH)/overrides.txt
	@$(UV) pip install --quiet --python $(NEWEST_TORCH)/bin/python --upgrade-package torch --upgrade-package torchvision \
		--constraints $(NEWEST_TORCH)/pins.txt --overrides $(NEWEST_TORCH)/overrides.txt \
		--group dev --editable '.[operator,trainer,export,media]'
	$(NEWEST_TORCH)/bin/python -m pytest tests/unit/trainer tests/parity

test-api: setup binaries ## Tests against a real kube-apiserver
	$(BIN)/python -m pytest tests/api

test-cluster: setup binaries ## Tests of the dev cluster itself
	$(BIN)/python -m pytest tests/devcluster

test-e2e: setup binaries ## Whole training runs on the dev cluster
	$(BIN)/python -m pytest tests/e2e

fuzz: setup ## 2,000 damaged labels, data.yamls, zips, pictures and weight files: each ends in success or in one sentence (about 5 minutes)
	@$(BIN)/python -m tests.fuzz

bench-nodepool: setup ## A month of node pools, simulated: what idle nodes cost, beside cluster-autoscaler and Karpenter (about 3 minutes)
	@$(BIN)/python -m benchmarks.node_pools --plot docs/images/node-pool-waste.png

bench-train: setup ## How fast training is and how soon it learns, against YOLOv5 v7.0 and lever by lever (about 80 minutes; DEVICE=cuda on a GPU)
	@for benchmark in throughput bare profile levers; do \
		$(BIN)/python -m benchmarks.training $$benchmark $(if $(DEVICE),--device $(DEVICE) --image-size 640 --images 640); done
	@$(MAKE) --no-print-directory bench-train-learning

bench-train-learning: setup ## Its last part alone: mAP50 over time from scratch (30 minutes)
	@$(BIN)/python -m benchmarks.training learning $(if $(DEVICE),--device $(DEVICE))

bench-labels: setup ## How many planted label mistakes data check --deep finds in 500 drawn pictures (15 minutes)
	@$(BIN)/python -m benchmarks.label_check

media-tools: ## Install what tests of videos, streams, the screen and pages need: browser, ffmpeg, GStreamer, Xvfb (where apt is at hand)
	@missing=$$(for tool in $(MEDIA_TOOLS); do dpkg-query --show --showformat='$${db:Status-Status}' $$tool 2>/dev/null \
		| grep -qx installed || echo $$tool; done); \
	if [ -n "$$missing" ] && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		echo "media-tools: installing" $$missing; \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends $$missing >/dev/null; fi

bench-detect: setup ## How fast detection is against YOLOv5 v7.0 and OpenVINO alone, and whether compare names the better model
	@$(BIN)/python -m benchmarks.detection

binaries: setup ## Build Kubernetes, etcd, CoreDNS, helm and the S3 server once (about 12 minutes, cached)
	@$(BIN)/python -m devcluster binaries

demo: setup ## The whole product on a cluster of this machine: apply a job, watch it train, get best.pt (Linux and root)
	@$(BIN)/python -m examples.demo up $(if $(EPOCHS),--epochs $(EPOCHS))

demo-trees: setup ## The same with real aerial photographs (downloads 20 MB)
	@$(BIN)/python -m examples.demo up --example trees $(if $(EPOCHS),--epochs $(EPOCHS))

demo-down: setup ## Remove everything that `make demo` started
	@$(BIN)/python -m examples.demo down

generate: setup ## Write the generated files (CRD and the chart's copy of it)
	$(BIN)/python -m masktrain_operator.api.crd --write

lock: ## Renew requirements/*.txt from pyproject.toml
	@test -x $(UV) || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet uv; }
	@echo uv | $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --custom-compile-command "make lock" --upgrade -o requirements/bootstrap.txt -
	$(COMPILE) --upgrade --extra operator -o requirements/operator.txt
	$(COMPILE) --upgrade --extra trainer --extra export --extra media -o requirements/trainer.txt
	$(COMPILE) --upgrade --all-extras --group dev -o requirements/dev.txt

clean: ## Remove the environment and caches of this checkout
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
