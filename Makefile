# Two commands are enough: `make chat` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install chat test lint format eval bench clean guardrail-model adapter head audit

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## make .venv with .venv/bin/backtalk in it

# torch first and alone: its CPU build is then taken where one is served (for others, README.md names the CPU wheel index).
$(VENV)/.installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,train]"
	@touch $@

chat: install ## set up and open the bot in the browser
	$(BIN)/backtalk serve --open

test: install ## set up and run every test, the browser tests included
	$(BIN)/python -m pytest

lint: install ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install ## put the code into the house form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

eval: install ## run the eval suites on the bot and the baselines, and write evals/RESULTS.md
	$(BIN)/backtalk eval --baselines --results evals/RESULTS.md

bench: install ## measure speed and memory
	$(BIN)/python -m evals.bench

guardrail-model: install ## train the guardrail's classifier anew (about an hour on two cores)
	$(BIN)/python -m bot.guardrail.training.train

adapter: install ## tune the sentence encoder to the labelled questions anew (about a quarter of an hour on two cores)
	$(BIN)/python -m ingest.training.train

head: install ## fit anew what tells answerable questions from others (after make adapter)
	$(BIN)/backtalk ingest
	$(BIN)/python -m bot.training.head

audit: install ## ask the advisory database about every pinned package; fails when it cannot ask
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[audit]"
	$(BIN)/pip-audit --strict -r constraints.txt --no-deps --disable-pip

clean: ## remove what install, ingest and the tests made
	rm -rf $(VENV) .backtalk .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info evals/runs
