# `make run` is all that a new user needs; `make help` lists the rest.
VENV := .venv
PYTHON := $(VENV)/bin/python
STAMP := $(VENV)/.installed
BASE_PYTHON := $(shell command -v python3.11 || command -v python3)

.PHONY: help install run test check smoke bench slow screenshots clean
.DEFAULT_GOAL := help

help:  ## list these targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

install: $(STAMP)  ## make .venv with the pinned versions (once)

# uv installs in a quarter of pip's time; where it cannot, pip does the same work. Byte code is made here and not in each
# process anew, which costs a start of the command line ten seconds where the environment forbids to keep it.
$(STAMP): pyproject.toml constraints.txt
	test -x $(PYTHON) || $(BASE_PYTHON) -m venv $(VENV)
	$(PYTHON) -m pip install --quiet -c constraints.txt uv
	$(VENV)/bin/uv pip install --quiet --compile-bytecode --python $(PYTHON) -c constraints.txt -e '.[dev]' \
		|| $(PYTHON) -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $(STAMP)

run: $(STAMP)  ## the whole pipeline on data/sample
	$(VENV)/bin/multimodal run conf/sample.yaml

# Two workers of one thread each: the tests' models are too small for two threads to help one.
test: run check  ## the whole pipeline on data/sample, then lint, types and the test suite
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: $(STAMP)  ## lint, formatting and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

smoke: $(STAMP)  ## the whole pipeline on a handful of samples, under a minute
	$(VENV)/bin/multimodal run conf/smoke.yaml

bench: $(STAMP)  ## the measurements of tests/benchmarks
	$(PYTHON) -m pytest tests/benchmarks -m benchmark -s

slow: $(STAMP)  ## the tests that take minutes each
	$(PYTHON) -m pytest -m slow

screenshots: $(STAMP)  ## the README's dashboard pictures, from a real run in headless Chromium
	$(PYTHON) docs/make_screenshots.py

clean:  ## remove what runs wrote (not the virtual environment)
	rm -rf workspace workspace-*
