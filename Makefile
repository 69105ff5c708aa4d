# `make demo` and `make test` are the two commands; both install first. `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# gpu where an NVIDIA GPU answers, else cpu; `make install ACCELERATOR=cpu` overrides.
ACCELERATOR ?= $(shell nvidia-smi -L 2>/dev/null | grep -q '^GPU ' && echo gpu || echo cpu)
LOCK := requirements/$(ACCELERATOR).txt
# Of `make torture`.
KILLS ?= 200
VLLM_KILLS ?= 10
STAMP := $(VENV)/.installed-$(ACCELERATOR)
# Test processes at a time. Each may run vLLM, which takes about 5 GiB of memory.
JOBS ?= 2
PYTEST = $(BIN)/python -m pytest
# A file's tests share what is slow to make, so they stay in one process.
PARALLEL = -n $(JOBS) --dist loadfile --no-loadscope-reorder
# Of short tests: a thread of Python for each, as pytest-timeout starts it, takes half as long as the test.
CHEAP_TIMEOUT = --timeout 0 -o faulthandler_timeout=600 -o faulthandler_exit_on_timeout=true
# Some container images set it. Each of vLLM's processes would then compile what it imports, which takes ten seconds.
unexport PYTHONDONTWRITEBYTECODE
# torch's CPU builds are not on PyPI. Only torch is looked up here.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu

# uv installs the lock ten times as fast as pip. pip brings uv itself and torch, since it knows of local mirrors and
# wheels by its configuration; -qq keeps it silent about indexes that do not answer, errors are still shown.
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
EVERYTHING := --no-deps -r $(LOCK) --editable .

.DEFAULT_GOAL := help
.PHONY: help install demo demo-real proof test test-unit test-long test-real torture lint docs format resolve lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

install: $(STAMP) ## create .venv from the lock file for this machine (CPU or GPU)

$(STAMP): $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "make: need Python 3.11 or later, but $(PYTHON) is $$($(PYTHON) --version 2>&1 | tail -n 1)." >&2; \
	  echo "Install one and name it: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info >= (3, 14))' || \
	  echo "note: the lock files are made for Python 3.11 to 3.13; this is $$($(PYTHON) --version)" >&2
	@if [ -d $(VENV) ] && ls $(VENV)/.installed-* >/dev/null 2>&1 && [ ! -e $(STAMP) ]; then \
	  echo "$(VENV) was made for another accelerator: installing again from scratch"; rm -rf $(VENV); fi
	@echo "installing $(LOCK) into $(VENV) (some minutes the first time)"
	@[ -x $(BIN)/python ] && $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { \
	  echo "Could not create $(VENV). On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(PIP) install --no-deps "$$(grep '^uv==' $(LOCK))"
ifeq ($(ACCELERATOR),cpu)
	@torch=$$(grep '^torch==' $(LOCK)) && \
	  $(BIN)/uv --quiet pip show --python $(BIN)/python torch 2>/dev/null | grep -qx "Version: $${torch#*==}" || \
	  $(PIP) install --no-deps --retries 2 --extra-index-url $(TORCH_CPU_INDEX) "$$torch"
endif
	@$(BIN)/uv --quiet pip install --python $(BIN)/python $(EVERYTHING) || { \
	  echo "uv could not install (it does not read pip's configuration): trying pip, which is slower" >&2; \
	  $(PIP) install $(EVERYTHING); }
	@touch $@

demo: install ## the whole chain with the embedded model, offline
	@$(BIN)/selfinstruct demo --output-dir runs/demo

demo-real: install ## the whole chain with SmolLM2-135M-Instruct (fetched once, 93 MB): a quarter of an hour on two cores
	@$(BIN)/selfinstruct demo --model smollm2 --output-dir runs/smollm2

proof: install ## does a real model get better by its own checked answers? SmolLM2-135M-Instruct, about 50 minutes on two cores
	@$(BIN)/python benchmarks/self_improvement.py --out runs/proof

test: install ## all tests that need neither a GPU nor much time; JOBS=4 runs four at a time, JOBS=0 one after another
	@$(PYTEST) $(PARALLEL) -m "not long and not gpu and not real"

test-unit: install ## the unit tests alone: no whole chains, processes, servers or browsers
	@$(PYTEST) $(PARALLEL) $(CHEAP_TIMEOUT) -m "not whole and not long and not gpu and not real" tests/unit

test-long: install ## the tests that take too long for `make test`
	@$(PYTEST) -m "long and not gpu and not real" --ignore tests/faults/test_torture.py
	@$(PYTEST) $(PARALLEL) --hypothesis-profile thorough -m "hypothesis and not long and not gpu"

test-real: install ## what only a real model can show: SmolLM2-135M-Instruct, fetched once (93 MB): a quarter of an hour on two cores
	@$(PYTEST) -m real --timeout 0

torture: install ## kill runs at random, 200 times, and 10 times with vLLM; KILLS=1000 VLLM_KILLS=50 does it more often
	@TORTURE_KILLS=$(KILLS) TORTURE_VLLM_KILLS=$(VLLM_KILLS) $(PYTEST) -s --timeout 0 -m long \
	  tests/faults/test_torture.py

lint: install ## ruff (rules and format), mypy, and import-linter (which folder may import which)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

docs: install ## build the documentation into site/; a warning, for example a broken link, is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

format: install ## let ruff fix and format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

resolve: install ## check that pip finds versions for both extras on Python 3.11 to 3.13 (needs the package index)
	@UV=$(abspath $(BIN)/uv) requirements/resolve.sh

lock: install ## write requirements/*.txt again; LOCK_OPTIONS=--upgrade takes newer versions
	@UV=$(abspath $(BIN)/uv) requirements/compile.sh $(LOCK_OPTIONS)

clean: ## remove .venv, caches and builds; runs/ stays
	@rm -rf $(VENV) build dist site *.egg-info .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
