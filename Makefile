# demo, test, check, bench, notebooks: each first makes the environment it needs, with Python >= 3.11 and pip alone.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
PIP_QUIET := -qq --disable-pip-version-check --no-input
BIN := .venv/bin
ARGS ?=
# What hangs on google-genai's version; the rest is tested once.
SDK_TESTS := $(wildcard $(addprefix tests/,embedding contract langchain llama_index))

.PHONY: help demo test test-2.34 test-mteb check format bench bench-chunking bench-retrieval bench-moving notebooks lock clean

help:  ## What there is to make
	@awk -F ':.*## ' '/^[a-z0-9.-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/ready  ## A small corpus through both frameworks; ARGS=--live for the real service
	@$(BIN)/python cookbooks/demo.py $(ARGS)

test: .venv/ready  ## The tests, on google-genai 3.x; ARGS=... go to pytest
	@$(BIN)/python -m pytest -n 2 $(ARGS)

test-2.34: .venv-2.34/ready  ## Transport and adapters on google-genai 2.34, beside langchain-google-genai
	@.venv-2.34/bin/python -m pytest -n 2 $(SDK_TESTS) $(ARGS)

test-mteb: .venv-mteb/ready  ## The wrapper for mteb, on mteb itself (brings PyTorch)
	@.venv-mteb/bin/python -m pytest tests/mteb $(ARGS)

check: .venv/ready  ## Format, lint, types
	@bad=0; \
	$(BIN)/ruff format --check --quiet || { echo "ruff format: see make format"; bad=1; }; \
	$(BIN)/ruff check || bad=1; \
	$(BIN)/mypy || bad=1; \
	exit $$bad

format: .venv/ready  ## Format, and repair what the linter can
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

bench: .venv/ready .venv-peers/ready  ## Ours, the peers and the floor, in one interleaved run; then recall and time of two passes
	@$(BIN)/python tests/benchmarks/bench.py --peers .venv-peers/bin/python $(ARGS)
	@$(BIN)/python -m tests.benchmarks.retrieval

bench-chunking: .venv/ready  ## CPU and memory of chunking a large corpus; ARGS='--pages 10000'
	@$(BIN)/python tests/benchmarks/chunking.py $(ARGS)

bench-moving: .venv/ready  ## A move that is killed five times; ARGS='--batch 2000', ARGS='--memory 10000 200000'
	@$(BIN)/python -m tests.benchmarks.moving $(ARGS)

bench-retrieval: .venv/ready  ## Recall and latency of two passes; ARGS='--points 100000 --texts 20000 --plot two.png'
	@$(BIN)/python -m tests.benchmarks.retrieval $(ARGS)

notebooks: .venv/ready  ## Run the cookbooks on the emulator, without changing them
	@$(BIN)/python tests/notebooks.py $(ARGS)

# ---- environments: each is made when it is missing, and brought up to date when its pins changed

# What pip is told beyond the constraints, one line an environment.
WANTS.venv       := --editable '.[all]' --group dev
WANTS.venv-2.34  := --editable '.[all]' --group beside
WANTS.venv-mteb  := --editable '.[emulator]' --group mteb
WANTS.venv-peers := --group peers

define environment
	@echo "make: setting up $(@D) (a minute or two, once)"
	@test -n "$(PYTHON)" || { echo "make: no Python found; say where it is: make PYTHON=..."; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.version_info >= (3, 11) or sys.exit("make: Python 3.11 or newer is needed; say which: make PYTHON=...")'
	@$(@D)/bin/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(@D)
	@$(@D)/bin/python -m pip install $(PIP_QUIET) 'pip>=25.1'
	@$(@D)/bin/python -m pip install $(PIP_QUIET) --constraint $(filter %.txt,$^) $(WANTS$(@D))
	@touch $@
endef

.venv/ready: pyproject.toml tests/constraints.txt
	$(environment)

.venv-2.34/ready: pyproject.toml tests/constraints-2.34.txt
	$(environment)

.venv-mteb/ready: pyproject.toml tests/mteb/constraints.txt
	$(environment)

.venv-peers/ready: pyproject.toml tests/benchmarks/constraints.txt
	$(environment)

lock:  ## Resolve the four environments anew and write down what came out
	@for pair in .venv:tests/constraints.txt .venv-2.34:tests/constraints-2.34.txt .venv-mteb:tests/mteb/constraints.txt .venv-peers:tests/benchmarks/constraints.txt; do \
		place=$${pair%%:*} file=$${pair#*:}; \
		: > $$file; \
		rm -rf $$place; \
		$(MAKE) $$place/ready; \
		$$place/bin/python -m pip freeze --exclude-editable | grep -v ' @ ' > $$file; \
		touch $$place/ready; \
		echo "$$file: $$(wc -l < $$file) packages"; \
	done

clean:  ## Remove the environments and what tools left behind
	@rm -rf .venv .venv-2.34 .venv-mteb .venv-peers build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
