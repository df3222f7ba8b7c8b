# Every verb sets up what it needs. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
CODE   := bench cli client deploy examples export loadtest tests

.PHONY: help setup demo test check fix bench clean

help: ## list the verbs
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## make .venv with everything (the verbs below do it too)

# torch first and alone: a package that merely needs "torch" must find the pinned one.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in [(3, 11), (3, 12)])' || \
	  { echo "error: Python 3.11 is needed, '$(PYTHON)' is another. hint: make PYTHON=/path/to/python3.11" >&2; exit 4; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --disable-pip-version-check -c constraints.txt -e '.[export,engine,server,loadtest,experiments,cli,dev]'
	@touch $(READY)

demo: $(READY) ## checkpoint -> INT8 -> gates -> TensorRT check -> Triton -> load test -> report
	$(BIN)/python examples/digits/demo.py

test: $(READY) ## all tests: real servers on loopback, no GPU, no Docker
	$(BIN)/pytest -n 2 --dist loadfile

check: $(READY) ## formatting, lint, types; changes nothing
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy

fix: $(READY) ## format, and mend what ruff can mend
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

bench: $(READY) ## engine : our server : FastAPI, then our client : tritonclient, side by side
	$(BIN)/python bench/serving.py
	$(BIN)/python bench/client.py

clean: ## remove what was built; published versions stay
	rm -rf $(VENV) build dist examples/*/build .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.git/*' -exec rm -rf {} +
