# Everything runs in .venv, made on first use and again only when pyproject.toml changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check
# Two processes, each of which imports TensorFlow once; a file's tests stay together and share what
# they compiled.
PYTEST_FLAGS ?= -n 2 --dist loadfile --durations=40 --durations-min=5
# What another backend can change: it computes rules and trains lanes. Equality is measured in float64, which JAX has to
# be told to keep. Left out is what takes minutes and runs the same lines: the comparisons with other frameworks, whose
# little operations JAX compiles one by one, and tests that start processes with a backend of their own.
JAX_TESTS := tests/engine tests/optimizers/test_contract.py tests/optimizers/test_gradients.py \
             tests/optimizers/test_schedules.py tests/tasks/test_networks.py tests/tasks/test_task.py \
             tests/test_large.py tests/test_passes.py tests/test_study.py
# Also left out: options in looped lanes and with Keras' own optimizer classes. In test_contract.py every rule trains
# looped with a schedule, decay, clipnorm, accumulation and averages at once, in test_equivalence.py every layer; stacked
# lanes train each option here too; and Keras' classes are the same Python on every backend, held to lanes on TensorFlow.
JAX_LEFT_OUT := (options_train_as_in_keras_fit and looped) or with_the_optimizers_of_keras

# With CI=true on what lock.txt is for, all that is installed for the tests is held to its hash; what the oracles add is
# not, because PyTorch comes from wherever a machine has its build for CPUs. Others get the newest that fits.
LOCKED := $(if $(filter true,$(CI)),$(shell $(PYTHON) -c 'import platform, sys; print(*sys.version_info[:2], \
    platform.system(), platform.machine(), sep="-")' | grep -qx 3-11-Linux-x86_64 && ls lock.txt))
TOOLS := $(VENV)/tools

.PHONY: help demo test test-jax oracles check pictures format lock audit clean
.DEFAULT_GOAL := help

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.plain ## see adamtune at work
	@$(BIN)/python -m adamtune demo

test: $(VENV)/.dev ## run the tests and the examples in the docstrings, then what JAX can change with it
	KERAS_BACKEND=tensorflow $(BIN)/python -m pytest $(PYTEST_FLAGS)
	$(MAKE) test-jax

test-jax: $(VENV)/.dev
	KERAS_BACKEND=jax JAX_ENABLE_X64=1 JAX_DISABLE_MOST_OPTIMIZATIONS=1 \
	    $(BIN)/python -m pytest $(PYTEST_FLAGS) $(JAX_TESTS) -k 'not ($(JAX_LEFT_OUT))'

oracles: $(VENV)/.dev ## install PyTorch and optax, which `make test` then compares the optimizers with
	@$(PIP) -e ".[dev,oracles]"

check: $(VENV)/.dev ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

pictures: $(VENV)/.dev ## keep what the tests of the pages see in docs/pictures; needs Chromium
	ADAMTUNE_PICTURES=docs/pictures $(BIN)/python -m pytest -q tests/dashboard/test_browser.py

format: $(VENV)/.dev ## format, and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(TOOLS)/.made ## resolve anew what CI installs on Python 3.11, into lock.txt
	@printf 'hatchling\neditables\n' | $(TOOLS)/bin/uv pip compile -q --upgrade --extra dev --only-binary :all: --generate-hashes \
	    --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-annotate \
	    --custom-compile-command 'make lock' pyproject.toml - -o lock.txt

audit: $(TOOLS)/.made ## ask whether anything in lock.txt has a known vulnerability
	@$(TOOLS)/bin/pip-audit --strict --disable-pip --require-hashes -r lock.txt

clean: ## remove caches and builds; .venv and databases stay
	rm -rf build dist .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# The development install holds all of the plain one, so it satisfies both.
$(VENV)/.plain: pyproject.toml | $(BIN)/python
	@echo "installing adamtune into $(VENV) (some minutes the first time: TensorFlow is large)"
	@$(PIP) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml $(if $(LOCKED),lock.txt) | $(BIN)/python
	@echo "installing adamtune[dev] into $(VENV) (some minutes the first time: TensorFlow is large)"
	@$(if $(LOCKED),$(PIP) --require-hashes -r lock.txt && $(PIP) --no-deps --no-build-isolation -e .,$(PIP) -e ".[dev]")
	@touch $(VENV)/.plain $@

$(TOOLS)/.made: | $(BIN)/python
	@$(BIN)/python -m venv $(TOOLS)
	@$(TOOLS)/bin/python -m pip install -q --disable-pip-version-check uv pip-audit
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "adamtune needs Python 3.11 or newer; '$(PYTHON) --version' says:" \
		     "$$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
