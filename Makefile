# Two commands on a fresh machine: `make demo` and `make test`. Nothing but Python 3.11+ (with pip) and make is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORE := $(VENV)/.core-installed
WEB := $(VENV)/.web-installed
DEV := $(VENV)/.dev-installed
PEERS := $(VENV)-peers/.installed
PHOENIX := $(VENV)-phoenix/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-soak test-engines check lint types layers docs docs-serve bench bench-stats bench-metrics bench-experiments bench-scaling bench-corpus bench-telemetry bench-text test-calibration format lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Jurat needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.12 demo")'
	@$(PYTHON) -m venv $(VENV)

$(CORE): requirements/core.lock pyproject.toml | $(BIN)/python
	@echo "installing Jurat into $(VENV) (once)" >&2
	@$(PIP) install --require-hashes -r requirements/core.lock
	@$(PIP) install --require-hashes -r requirements/build.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(WEB): requirements/web.lock $(CORE)
	@echo "installing what the pages need into $(VENV) (once)" >&2
	@$(PIP) install --require-hashes -r requirements/web.lock
	@echo "compiling kernels (once)" >&2
	@$(BIN)/python -m jurat.cli.demo_warm
	@touch $@

$(DEV): requirements/dev.lock $(CORE)
	@echo "installing what tests, checks and docs need into $(VENV) (once)" >&2
	@$(PIP) install --require-hashes -r requirements/dev.lock
	@touch $@

demo: $(WEB) ## Decide on a release, then watch live traffic and the incident that the monitor caught
	@$(BIN)/jurat demo --out demo

test: $(DEV) ## The default lane: doctests, oracles, faults, bad input, real data (under 15 minutes)
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow and not engines and not calibration"

test-slow: $(DEV) ## Long simulations and soak runs
	@$(BIN)/python -m pytest -q -n 2 -m "slow and not calibration"

test-soak: $(DEV) ## The server under load for half an hour: memory flat, nothing lost (JURAT_SOAK_MINUTES)
	@$(BIN)/python -m pytest -q -s -m slow -k memory_is_flat tests/telemetry/test_server_faults.py

test-calibration: $(DEV) ## False positives, coverage and power of every estimator, by simulation (about 15 minutes)
	@$(BIN)/python -m pytest -q -n 2 -m calibration tests/calibration

test-engines: $(DEV) ## Metrics on Spark too (needs Java 17)
	@$(PIP) install --require-hashes -r requirements/spark.lock
	@$(BIN)/python -m pytest -q -m engines

check: lint types layers docs ## Lint, types, layers, docs strict

lint: $(DEV)
	@$(BIN)/ruff check src tests benchmarks docs
	@$(BIN)/ruff format --check src tests benchmarks docs

types: $(DEV)
	@$(BIN)/mypy

layers: $(DEV)
	@$(BIN)/lint-imports

docs: $(DEV) ## Build the documentation, strictly, into site/
	@$(BIN)/zensical build --strict --clean

docs-serve: $(DEV)
	@$(BIN)/zensical serve

bench: bench-stats bench-metrics bench-experiments bench-scaling bench-corpus bench-telemetry bench-text ## Every benchmark beside its peers; tables and benchmarks/results/*.json

bench-stats: $(DEV) ## Cluster-robust SE, bootstrap, prediction-powered mean
	@$(BIN)/python -m benchmarks.bench_stats

bench-experiments: $(DEV) $(PEERS) ## A scorecard of 20 M rows, all looks, one more day, bootstrap, beside their peers
	@JURAT_BENCH_PEERS=$(VENV)-peers/bin/python $(BIN)/python -m benchmarks.bench_experiments

# tea-tasting's last release for Python 3.11 needs an older DuckDB than ours: the peers live in an environment of their own.
$(PEERS): requirements/peers.lock | $(BIN)/python
	@$(PYTHON) -m venv $(VENV)-peers
	@$(VENV)-peers/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/peers.lock
	@touch $@

$(PHOENIX): requirements/phoenix.lock | $(BIN)/python
	@$(PYTHON) -m venv $(VENV)-phoenix
	@$(VENV)-phoenix/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/phoenix.lock
	@touch $@

bench-corpus: $(DEV) $(PEERS) ## Words to bands, decontamination, quality counters, the whole scan, beside their peers
	@JURAT_BENCH_PEERS=$(VENV)-peers/bin/python $(BIN)/python -m benchmarks.bench_corpus

bench-telemetry: $(DEV) $(PHOENIX) ## Spans over HTTP to the lake, decoder, sessions, panels, beside Phoenix
	@JURAT_BENCH_PHOENIX=$(VENV)-phoenix/bin/phoenix $(BIN)/python -m benchmarks.bench_telemetry

bench-text: $(DEV) ## TF-IDF against scikit-learn, suffix arrays, n-gram counts
	@$(BIN)/python -m benchmarks.bench_text

bench-scaling: $(DEV) ## Scaling-law refits against scipy's BFGS
	@$(BIN)/python -m benchmarks.bench_scaling

bench-metrics: $(DEV) ## The metric engine against hand-written SQL and pandas
	@$(BIN)/python -m benchmarks.bench_metrics

format: $(DEV) ## Format the code
	@$(BIN)/ruff check --fix-only src tests benchmarks docs
	@$(BIN)/ruff format src tests benchmarks docs

lock: ## Resolve the locked versions anew (needs uv)
	uv pip compile -q --universal --python-version 3.11 --no-header --no-emit-index-url --no-annotate --generate-hashes requirements/dev.in -o requirements/dev.lock
	uv pip compile -q --universal --python-version 3.11 --no-header --no-emit-index-url --no-annotate --generate-hashes requirements/peers.in -o requirements/peers.lock
	uv pip compile -q --universal --python-version 3.11 --no-header --no-emit-index-url --no-annotate --generate-hashes requirements/phoenix.in -o requirements/phoenix.lock
	for part in core build web spark; do uv pip compile -q --universal --python-version 3.11 --no-header --no-emit-index-url --no-annotate --generate-hashes -c requirements/dev.lock requirements/$$part.in -o requirements/$$part.lock; done

clean: ## Remove what the targets made
	rm -rf $(VENV) $(VENV)-peers $(VENV)-phoenix demo site .hypothesis .mypy_cache .ruff_cache .import_linter_cache
