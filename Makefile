# Every target sets itself up: `make run` on a fresh clone needs only Python 3.11 and make.
SOTTO_VENV ?= $(CURDIR)/.venv
export SOTTO_VENV
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
BIN := $(SOTTO_VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run test check format bench docs lock setup setup-dev clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo 'ARGS="..." is passed on by run, test, bench and lock. SOTTO_* settings: docs/settings.md.'

# `exec` puts the program in the shell's place, so that a signal to make reaches it and not only the shell.
run: setup ## Set up, then start Sotto in the foreground (stop it with Ctrl-C)
	@exec "$(BIN)/sotto" up $(ARGS)

test: setup-dev ## Set up, then run the tests
	@exec "$(BIN)/python" -m pytest -n logical --maxprocesses 4 --no-loadscope-reorder $(ARGS)

check: setup-dev ## Lint, format, types, import rule
	@"$(BIN)/ruff" check .
	@"$(BIN)/ruff" format --check .
	@"$(BIN)/mypy"
	@"$(BIN)/lint-imports"

format: setup-dev ## Put the code in its format and mend what can be mended
	@"$(BIN)/ruff" format .
	@"$(BIN)/ruff" check --fix .

bench: setup-dev ## Run the benchmarks
	@exec "$(BIN)/python" -m benchmarks $(ARGS)

docs: setup-dev ## Refresh the generated parts of docs/
	@"$(BIN)/python" -m tools.docs

lock: setup-dev ## Resolve the dependencies anew (ARGS=--upgrade takes the newest)
	@exec "$(BIN)/python" -m tools.lock $(ARGS)

setup: ## Set up what running needs
	@$(if $(PYTHON),,$(error No Python found. Install Python 3.11, then run make again))exec "$(PYTHON)" tools/bootstrap.py

setup-dev: ## Set up what the tests and checks need as well
	@$(if $(PYTHON),,$(error No Python found. Install Python 3.11, then run make again))exec "$(PYTHON)" tools/bootstrap.py --dev

clean: ## Remove the environment in this folder, caches and build leftovers (never your data)
	@rm -rf "$(CURDIR)/.venv" "$(CURDIR)/.venv.lock" build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
