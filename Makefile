# Every target is one line to a tool. The tools live in .venv, which the first target that needs
# them fills from uv.lock; nothing has to be activated.

PYTHON ?= python3
BIN := .venv/bin
RUN ?= $(lastword $(sort $(wildcard runs/*/)))

# Tests of the lab that start whole programs: `chaos run` over fake worlds, a browser.
PROGRAMS := tests/lab/test_runner_*.py tests/lab/test_sabotage.py tests/lab/test_page_browser.py

# The interpreter is the machine's own: uv never fetches another one.
export UV_PYTHON_DOWNLOADS := never

.DEFAULT_GOAL := help
# Tests of running processes share two cores with nobody, whatever -j says.
.NOTPARALLEL:
.PHONY: help setup demo test test-local test-units test-operator test-services test-worlds test-cluster check \
	up down status tools images install lint-experiments report clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/.complete ## make .venv and install the locked tools and libraries (done once)

demo: setup ## predict the outage, grow it, recover from it, contain it by cells (about 7 minutes)
	$(BIN)/cellwall demo

test: setup ## all checks, then all tests; goes on after a failure, fails if any part failed
	@$(MAKE) --no-print-directory --keep-going check test-units test-operator test-services test-worlds test-cluster

test-local: setup ## the same without the cluster: no container, no root (about 14 minutes)
	@$(MAKE) --no-print-directory --keep-going check test-units test-operator test-services test-worlds

test-units: setup ## the decisions: core, simulation, judge, report, command line; two at a time
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/core tests/lab tests/test_*.py $(PROGRAMS:%=--ignore-glob='%')

test-operator: setup ## the operator over an API server in memory, its plans cut off anywhere, the charts; two at a time
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/operator tests/charts

test-services: setup ## each service against a real store, runs over fake worlds, the page in a browser; two at a time
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/services $(PROGRAMS)

test-worlds: setup ## whole worlds of running processes, one at a time
	$(BIN)/python -m pytest tests/local

test-cluster: setup ## a real cluster in Docker, made for it and removed; skipped, with the reason, where Docker cannot run
	$(BIN)/python -m pytest -rs tests/cluster

check: setup ## lint, format, types, import contracts, lock file
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/uv lock --check

up: setup ## a kind cluster with images, operator and a healthy world (4 minutes; at first half an hour)
	@cluster/up.sh

down: ## remove that cluster: containers, volumes, network
	@cluster/down.sh

status: ## its nodes, workloads and worlds
	@cluster/status.sh

tools: ## compile what the charts' tests want: helm, helm 4, kube-score (some minutes, once; needs Go or PyPI's)
	@cluster/from-source/binaries.sh helm helm4 kube-score

images: setup ## build the two images, with Docker
	@cluster/images.sh

install: ## the charts into an existing cluster: make install CONTEXT=…
	@cluster/install.sh "$(CONTEXT)"

lint-experiments: setup ## refuse experiment files that break the rules of experiments
	$(BIN)/cellwall lint experiments/*.yaml

report: setup ## judge and render a run again: make report RUN=runs/… (default: the newest)
	$(BIN)/cellwall report $(or $(RUN),$(error no run yet: `make demo` makes one))

clean: ## remove .venv, caches and build output; runs/ stays
	rm -rf .venv *.egg-info build .hypothesis .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

.venv/.complete: pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "setup: Python >= 3.11 is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1 | tail -n 1). Name another one: make PYTHON=python3.13 setup" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "setup: $(PYTHON) has no venv module; on Debian: apt install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet 'uv>=0.9'
	$(BIN)/uv sync --quiet --locked --all-extras
	@touch $@
