# Every command of the project. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash -o pipefail
PYTHON ?= python3
BIN := .venv/bin
UV_VERSION := 0.13.9
# Tools report to nobody; workers keep one BLAS thread each; the commands of the virtual environment come first.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export GX_ANALYTICS_ENABLED := false
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := 1
unexport VIRTUAL_ENV

.PHONY: help
help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/.installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cinevox needs Python 3.11 or newer: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	$(BIN)/uv pip install --python $(BIN)/python --quiet --require-hashes --compile-bytecode -r requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation --compile-bytecode -e .
	$(BIN)/cinevox warm
	@test -e .git || $(BIN)/dvc config --local core.no_scm true
	@touch $@

.PHONY: install
install: .venv/.installed  ## the virtual environment, from the hash-pinned lock

.PHONY: repro
repro: install  ## run whatever changed, then print the scores and where to look
	@cinevox ready
	dvc repro
	-cinevox sync
	cinevox scores

.PHONY: test
test: install  ## format, lint, import contracts, types, tests
	ruff format --check .
	ruff check .
	lint-imports
	mypy
	pytest

.PHONY: check
check: install  ## the same in 90 seconds, while you edit: only the tests nearest to what differs from HEAD (or SINCE=main)
	ruff format --check .
	ruff check .
	lint-imports
	mypy
	tests=$$(python tests/nearest.py $(SINCE)) && if [ -z "$$tests" ]; then echo "no test reaches what was edited"; \
	    else pytest -rs -m "not slow" --within 60 --no-loadscope-reorder $$tests; fi

.PHONY: hooks
hooks: install  ## the checks before every commit (.pre-commit-config.yaml), into this clone
	pre-commit install

.PHONY: validate
validate: install  ## look at every file of a data set: make validate FOLDER=data/algonauts2021 (default: dataset.folder)
	cinevox validate $(if $(FOLDER),"$(FOLDER)") $(if $(DATASET),--dataset $(DATASET)) --pages tmp/validation

.PHONY: data-remote
data-remote: install  ## name the private remote (REMOTE=/a/folder, s3://...), guard it, test a push and a pull (docs/data.md)
	@test -z "$(REMOTE)" || dvc remote add --local --force private "$(REMOTE)"
	cinevox guard --fix $(if $(wildcard .git),--hook)
	pytest -n 0 tests/test_guard.py

.PHONY: ui
ui: install  ## the MLflow UI on 127.0.0.1
	cinevox ui

.PHONY: screenshots
screenshots: install  ## look at the last run in MLflow's interface and its report as a person does; pictures in docs/
	pytest -n 0 tests/test_ui.py --screenshots docs

.PHONY: gate
gate: install  ## compare with the baseline, or AGAINST=origin/main; MARKDOWN=file for a pull request; fails on a regression
	cinevox gate $(if $(AGAINST),--against "$(AGAINST)") $(if $(MARKDOWN),--markdown "$(MARKDOWN)")

.PHONY: sync
sync: install  ## bring the MLflow record up to date with the score files
	cinevox sync

# $(1) in place of params.yaml, of which a copy is kept unless a commit or another file here has the same
define replace_params
	@if test -e params.yaml && ! cmp -s params.yaml params.paper.yaml && ! cmp -s params.yaml params.winners.yaml \
	    && ! { git ls-files --error-unmatch params.yaml && git diff --quiet HEAD -- params.yaml; } >/dev/null 2>&1; then \
	    kept=params.before-$$(date +%Y%m%d-%H%M%S).yaml && cp params.yaml $$kept && \
	    echo "params.yaml is in no commit as it was; kept in $$kept (cp $$kept params.yaml brings it back)"; fi
	cp $(1) params.yaml
	@git diff --stat params.yaml 2>/dev/null || true
endef

.PHONY: paper
paper:  ## put the paper's parameters in place of this run's
	$(call replace_params,params.paper.yaml)

.PHONY: paper-smoke
paper-smoke: install  ## run all rows of the paper in small, on in-silico data with random weights
	cinevox smoke tmp/paper-smoke
	cd tmp/paper-smoke && dvc init --no-scm --quiet && dvc repro && cinevox scores

.PHONY: winners
winners:  ## put what beat the paper in place of this run's parameters
	$(call replace_params,params.winners.yaml)

.PHONY: winners-smoke
winners-smoke: install  ## run all rows of params.winners.yaml in small, likewise
	cinevox smoke tmp/winners-smoke --params params.winners.yaml
	cd tmp/winners-smoke && dvc init --no-scm --quiet && dvc repro && cinevox scores

.PHONY: bench
bench: install  ## measure beside the alternatives: make bench NAME=regressors
	@test -n "$(NAME)" || { echo "which one? make bench NAME=..., of: $(basename $(notdir $(wildcard benchmarks/[a-z]*.py)))"; exit 2; }
	python benchmarks/$(NAME).py

.PHONY: lock
lock: install  ## resolve pyproject.toml anew into requirements.lock
	uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-header \
	    --no-emit-index-url --group dev pyproject.toml -o requirements.lock

.PHONY: clean
clean:  ## remove results and unfinished work; the DVC cache, MLflow's record and the environment stay
	rm -rf tmp report submission predictions gate data/encoding data/frames data/features data/reduction data/bases \
	    data/ceiling data/predictions data/scores data/selection data/ensembles data/validation data/conversion data/checks \
	    data/source_code data/versions.json
