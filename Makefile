# One word each: `make` lints, types, checks layers and tests; `make demo` shows the product; `make help` lists the rest.
# Everything runs in .venv, which is made from the locks in requirements/ (versions and hashes) on first use.

PYTHON ?= python3
BIN := .venv/bin

# A stamp's name holds the hash of what was installed, so that a changed lock installs again and nothing else does.
stamp = .venv/.installed-$(1)-$(shell cat pyproject.toml requirements/$(1).txt | sha256sum | cut -c1-16)
RUN := $(call stamp,run)
DEV := $(call stamp,dev)
BENCH := $(call stamp,bench)
# A server with AWS's API for the tests of KMS slots, apart: it wants another version of what we use ourselves.
AWS := .venv-aws/.installed-$(shell sha256sum requirements/aws.txt | cut -c1-16)

PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
# `make lock` resolves against pip's default index alone, whatever this machine's settings are.
COMPILE := env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=/dev/null CUSTOM_COMPILE_COMMAND="make lock" \
	$(BIN)/pip-compile --quiet --upgrade --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url \
	--no-emit-find-links --no-emit-trusted-host --no-emit-options pyproject.toml

# Two workers suit the smallest machine we test on; `make test PYTEST_ADDOPTS="-n 8 -k cells"` overrides.
PYTEST_ADDOPTS ?= -n 2
export PYTEST_ADDOPTS

.PHONY: all help venv demo test lint types layers format bench lock clean
.DEFAULT_GOAL := all

all: lint types layers test  ## Lint, types, layers and tests: what must pass before a change goes in

help:  ## List these targets
	@grep -hE '^[a-z]+:.*  ## ' $(MAKEFILE_LIST) | sort | sed -E 's/^([a-z]+):.*  ## /  make \1|/' | column -t -s '|'

venv: $(DEV)  ## Make .venv with everything that development needs

demo: $(RUN)  ## Make a made-up city in ./demo-room and ./demo-keys and show the product on it
	$(BIN)/python -m strongroom.demo

test: $(DEV) $(AWS)  ## Run the tests
	$(BIN)/python -m pytest

lint: $(DEV)  ## Check style with ruff
	$(BIN)/ruff check .

types: $(DEV)  ## Check types with mypy, strict
	$(BIN)/mypy

layers: $(DEV)  ## Check that imports point down only
	$(BIN)/lint-imports

format: $(DEV)  ## Apply what ruff can mend by itself
	$(BIN)/ruff check --fix .

bench: $(BENCH)  ## Measure; print the table, draw the plots, write the numbers to bench/out
	$(BIN)/python -m bench

lock: $(DEV)  ## Renew the locks in requirements/ from pyproject.toml
	$(COMPILE) --build-deps-for editable --output-file requirements/run.txt
	$(COMPILE) --build-deps-for editable --extra dev --constraint requirements/run.txt --output-file requirements/dev.txt
	$(COMPILE) --build-deps-for editable --extra bench --constraint requirements/dev.txt --output-file requirements/bench.txt
	$(subst pyproject.toml,requirements/aws.in,$(COMPILE)) --output-file requirements/aws.txt

$(AWS):
	$(PYTHON) -m venv .venv-aws
	.venv-aws/bin/python -m pip --disable-pip-version-check --no-input install --quiet --require-hashes --requirement requirements/aws.txt
	@rm -f .venv-aws/.installed-*
	@touch $@

clean:  ## Remove .venv, caches and the demo's room
	rm -rf .venv .venv-aws build dist demo-room demo-keys demo-room-report.html bench/out .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv

# Locked dependencies by hash first; then the project itself, with no dependencies and with the locked setuptools.
.venv/.installed-%: | $(BIN)/python
	$(PIP) install --quiet --require-hashes --requirement requirements/$(firstword $(subst -, ,$*)).txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@rm -f .venv/.installed-$(firstword $(subst -, ,$*))-*
	@touch $@
