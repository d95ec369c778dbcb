# What a newcomer types. The first target that needs it creates .venv; nothing is installed outside of it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTHONS := 3.11 3.12 3.13 3.14

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint crash soak power mutants pythons bench bench-full bench-profile bench-hot schemas clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(STAMP) ## a run that is killed half-way, resumes, and proves what it cost (no key needed)
	$(BIN)/python examples/demo.py

# Half of the tests wait, for disks and for processes that they killed: four at once keep two cores busy.
test: lint ## lint, types, walls and all tests
	$(BIN)/pytest -n 4 --dist worksteal

# mypy takes cli/ by its folder: through the editable install it cannot see that it is ledger_cli.
lint: $(STAMP) ## style, types, and who may import whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy ledger cli examples
	$(BIN)/lint-imports

crash: $(STAMP) ## 2,000 SIGKILLs of the shipped command under seeded faults (make crash KILLS=100 SEED=7 for others)
	$(BIN)/python tests/crash/campaign.py --kills $(or $(KILLS),2000) --seed $(or $(SEED),1)

mutants: $(STAMP) ## plant bugs in a copy, one by one, and show which test catches each (make mutants ONLY=head)
	$(BIN)/python tests/mutants/mutants.py $(ONLY)

pythons: ## the golden ledgers and the core under every Python from 3.11 to 3.14 on the PATH
	@set -e; for version in $(PYTHONS); do \
	  place=$(VENV)/pythons/$$version; \
	  if ! python$$version -c 'import ensurepip, venv' 2>/dev/null; then echo "python$$version: not here"; continue; fi; \
	  if ! test -e $$place/.installed; then \
	    python$$version -m venv $$place; \
	    $$place/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'; \
	    $$place/bin/python -m pip install --quiet --disable-pip-version-check --editable . --group dev; \
	    touch $$place/.installed; \
	  fi; \
	  $$place/bin/python --version; \
	  $$place/bin/pytest -q tests/golden tests/core; \
	done

soak: $(STAMP) ## a million simulated histories, each decided by its seed (make soak SEEDS=10000 FIRST=5 JOBS=8)
	$(BIN)/python tests/simulation/simulate.py --seeds $(or $(SEEDS),1000000) --first $(or $(FIRST),1000000) \
	  --jobs $(or $(JOBS),2) --verbose

power: $(STAMP) ## tens of thousands of power cuts, every byte of a -wal, every step on a bad disk
	$(BIN)/python tests/power/powercampaign.py --seeds $(or $(SEEDS),8) --seed $(or $(SEED),1)

bench: $(STAMP) ## time, CPU and memory of 1,000 to 100,000 items, beside the plain SDK script; writes docs/benchmarks.md
	$(BIN)/python tests/bench/bench.py $(if $(CASES),--cases $(CASES))
	$(BIN)/python tests/bench/floor.py
	$(BIN)/python tests/bench/report.py --print

bench-full: $(STAMP) ## the whole suite: also a million items, large ones, many batches, 10 million from a stream (an hour)
	$(BIN)/python tests/bench/bench.py --cases full
	$(BIN)/python tests/bench/floor.py
	$(BIN)/python tests/bench/chunks.py
	$(BIN)/python tests/bench/resume.py
	$(BIN)/python tests/bench/stream.py
	$(BIN)/python tests/bench/report.py --print

bench-profile: $(STAMP) ## where the time goes, by phase and as a flame graph (needs py-spy)
	$(BIN)/python tests/bench/phases.py $(if $(PYSPY),--py-spy $(PYSPY))
	$(BIN)/python tests/bench/report.py

# CPU time, not wall: other work on the machine must not look like a regression.
bench-hot: $(STAMP) ## the hot functions one by one, beside the saved timings (make bench-hot SAVE=name keeps new ones)
	$(BIN)/pytest -o addopts=-ra -o filterwarnings= tests/bench/test_hot.py --benchmark-timer=time.process_time \
	  --benchmark-columns=median,iqr,rounds --benchmark-sort=name \
	  --benchmark-storage=file://docs/benchmarks/hot --benchmark-compare $(if $(SAVE),--benchmark-save=$(SAVE))

schemas: $(STAMP) ## write schemas/ from the types
	$(BIN)/python -m ledger.files.schemas schemas

clean: ## remove .venv, caches and what the demo left
	rm -rf $(VENV) .demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip 25.1 is the first that installs dependency groups.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.13" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make virtual environments. On Debian and Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@
