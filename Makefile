# One door to everything: `make help` lists it. A fresh machine needs python3 >= 3.11 (or PYTHON=...) and make.

PYTHON ?= python3
FOR ?= 30s
SEED ?= 7
INSTRUMENTS ?= 8
OUT ?= demo-out
NAME ?=
ARGS ?=
UV ?= uv

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made-from-lock
LINKED := $(shell test -L $(VENV) && echo yes)
PATHS := src tests benchmarks torture scripts
STRANGERS := ccxt cryptofeed hftbacktest
COMPILE := $(UV) pip compile --universal --python-version 3.11 --fork-strategy fewest --generate-hashes --no-emit-find-links \
  --no-header --no-annotate --quiet

.DEFAULT_GOAL := help
.PHONY: help setup strangers demo test lint types bench benchmarks-page docs platforms lock clean

help:  ## this list
	@awk -F':.*## ' '/^[a-z%-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make .venv with everything from requirements.lock (once; again when the lock changes)

# The stamp holds the lock's age: a second run does nothing and needs no network. A .venv that is a link belongs to
# somebody else, so it is used as it is.
$(STAMP): requirements.lock pyproject.toml
ifeq ($(LINKED),yes)
	@echo "setup: .venv is a link to another environment; it is used as it is"
	@touch $(STAMP)
else
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "setup: expected Python 3.11 or newer, was %d.%d; name one with PYTHON=python3.12" % sys.version_info[:2])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "setup: python's venv module is not complete here; on Debian install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --require-hashes --only-binary=:all: -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $(STAMP)
	@echo "setup: $(VENV) holds $$($(BIN)/python --version) and everything from requirements.lock"
endif

# Not from wheels alone: cryptofeed has none for Python 3.11 and is built here, which needs a C compiler.
strangers: $(STRANGERS:%=.venvs/%/.made-from-lock)  ## environments of the foreign clients that judge the simulated exchange

.venvs/%/.made-from-lock: tests/strangers/%.lock | setup
	$(BIN)/python -m venv --clear .venvs/$*
	.venvs/$*/bin/python -m pip install --quiet --require-hashes --prefer-binary -r $<
	@touch $@

demo: setup  ## the whole chain on a simulated exchange: make demo FOR=30s SEED=7 INSTRUMENTS=8 OUT=demo-out ARGS=--json
	PYTHONPATH=src $(BIN)/python -m data_controller demo --for $(FOR) --seed $(SEED) --instruments $(INSTRUMENTS) --out $(OUT) $(ARGS)

test: setup lint types $(if $(filter true,$(CI)),strangers)  ## lint, types and every test; CI=true makes a missing service a failure
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: setup  ## ruff, format, the walls between rooms
	$(BIN)/ruff check $(wildcard $(PATHS))
	$(BIN)/ruff format --check $(wildcard $(PATHS))
	PYTHONPATH=src $(BIN)/lint-imports

types: setup  ## mypy --strict over the package
	PYTHONPATH=src $(BIN)/mypy --strict src

bench: setup  ## measure; one module with NAME=frames; JSON and tables go to benchmarks/results/
	PYTHONPATH=src $(BIN)/python -m benchmarks $(NAME)

benchmarks-page: setup  ## write docs/benchmarks.md from what make bench measured
	$(BIN)/python scripts/make_benchmarks_page.py

torture-%: setup  ## long runs of one issue, resumable: make torture-2; evidence goes to docs/evidence/
	PYTHONPATH=src $(BIN)/python -m torture $* $(NAME)

docs: setup  ## write again what is generated from the code: config, commands, features, metrics
	PYTHONPATH=src $(BIN)/python scripts/make_docs.py

platforms: setup  ## ask the package index for wheels on every platform we name; writes docs/platforms.md (needs network)
	$(BIN)/python scripts/check_wheels.py

lock:  ## resolve requirements.lock and the strangers' locks again (needs network and uv)
	@{ echo "# Every dependency of the engine and its checks, pinned with hashes, for all platforms at once. Made by: make lock"; \
	$(COMPILE) --extra dev pyproject.toml; } > requirements.lock.new && mv requirements.lock.new requirements.lock
	@for name in $(STRANGERS); do \
	{ echo "# A foreign client that judges the simulated exchange, pinned with hashes, for all platforms at once. Made by: make lock"; \
	$(COMPILE) tests/strangers/$$name.in; } > $$name.lock.new && mv $$name.lock.new tests/strangers/$$name.lock || exit 1; done

clean:  ## remove caches and demo output; .venv and journals elsewhere stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist demo-out
	find src tests benchmarks torture scripts -name __pycache__ -type d -prune -exec rm -rf {} +
