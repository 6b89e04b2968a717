# What a person types. `make` alone lists it; PYTHON=python3.13 picks another interpreter, which gets an environment of its own.
PYTHON ?= python3
VENV ?= $(if $(filter python3,$(notdir $(PYTHON))),.venv,.venv-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq

.DEFAULT_GOAL := help
.PHONY: help demo test check bench prove mutants sdk lock clean
MAKEFLAGS += --no-print-directory

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(READY) ## a store, a flaky provider and two replicas on this machine, until Ctrl-C (PORT=3000, ARGS="--help")
	@$(BIN)/python -m demo $(if $(PORT),--port $(PORT)) $(ARGS)

test: $(READY) ## the whole test suite, with a real store server (ARGS="-k breaker")
# Tests of whole processes keep time, so they have the machine to themselves; the others run two files at a time.
ifeq ($(strip $(ARGS)),)
	@$(BIN)/python -m pytest -n 2 --dist loadfile --ignore=tests/e2e
	@$(BIN)/python -m pytest tests/e2e
else
	@$(BIN)/python -m pytest $(ARGS)
endif

check: $(READY) ## lint, format and types
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy

bench: $(READY) ## the benchmark (ARGS="--help")
	@$(BIN)/python -m bench $(ARGS)

prove: $(READY) ## the proof: kill replicas, freeze the store, compare everybody's books (ARGS="--seconds 300 --seed 7")
	@$(BIN)/python -m prove $(ARGS)

mutants: $(READY) ## break each rule in small ways and ask whether its tests notice (ARGS=--all)
	@$(BIN)/python -m mutants $(ARGS)

# The SDKs live apart from what is locked for the project; Node's come too where there is an npm.
SDK := $(VENV)-sdk
sdk: $(READY) $(SDK)/.ready ## the providers' own SDKs through a running Holdfast, into docs/providers.md (ARGS="-k stripe")
	@HOLDFAST_SDK_PYTHON=$(abspath $(SDK))/bin/python HOLDFAST_SDK_NODE=$(abspath $(SDK))/node \
	  HOLDFAST_SDK_TABLE=docs/providers.md $(BIN)/python -m pytest -m sdk tests/sdk -rs $(ARGS)

$(SDK)/.ready: pyproject.toml | $(READY)
	@echo "Installing the providers' SDKs into $(SDK) (a minute)" >&2
	@$(PYTHON) -m venv $(SDK)
	@echo '*' > $(SDK)/.gitignore
	@$(BIN)/python -c 'import tomllib; from pathlib import Path; \
	  print(*tomllib.loads(Path("pyproject.toml").read_text())["project"]["optional-dependencies"]["sdk"], sep="\n")' \
	  > $(SDK)/sdk.txt
	@$(SDK)/bin/python -m pip --disable-pip-version-check -qq install --only-binary :all: -r $(SDK)/sdk.txt
	@! command -v npm >/dev/null || npm install --silent --no-fund --no-audit --prefix $(SDK)/node \
	  stripe@23 @adyen/api-library@32 @mollie/api-client@4
	@touch $@

lock: ## resolve pyproject.toml anew into requirements.lock
	@rm -rf $(VENV)-lock
	@$(PYTHON) -m venv $(VENV)-lock
	@$(VENV)-lock/bin/python -m pip --disable-pip-version-check -qq install --upgrade 'setuptools>=75'
	@$(VENV)-lock/bin/python -m pip --disable-pip-version-check -qq install --no-build-isolation --prefer-binary -e '.[dev]'
	@$(VENV)-lock/bin/python -m pip freeze --all --exclude pip --exclude holdfast > $(VENV)-lock/resolved
	@{ sed -n '/^#/p' requirements.lock; \
	   awk -F '==' 'NR == FNR { if (/;/) kept[$$1]; next } !($$1 in kept)' requirements.lock $(VENV)-lock/resolved; \
	   sed -n '/^[^#].*;/p' requirements.lock; } > $(VENV)-lock/requirements.lock
	@mv $(VENV)-lock/requirements.lock requirements.lock
	@rm -rf $(VENV)-lock

clean: ## remove the environments and what the tools left behind
	@rm -rf .venv .venv-* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# setuptools is pinned in the lock, so that the project itself is built with what is there and nothing else is fetched.
$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo 'Holdfast needs Python 3.11 or newer: PYTHON=python3.13 make ...' >&2; exit 1; }
	@echo 'Installing into $(VENV) (once, less than a minute)' >&2
	@$(PYTHON) -m venv $(VENV)
	@echo '*' > $(VENV)/.gitignore
	@$(PIP) install --only-binary :all: -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@
