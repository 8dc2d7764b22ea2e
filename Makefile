# Everything a newcomer needs; `make help` lists it. Needs Python 3.11 to 3.13, make, a package index.

.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV ?= .venv
# Another interpreter: make demo PYTHON=/opt/python3.12/bin/python3
PYTHON ?=
# make demo FLIGHT=folder-of-photos-or-geotiffs BUNDLE=folder-of-a-model
FLIGHT ?=
BUNDLE ?=
# make test ARGS='-k outbox'
ARGS ?=

PY := $(VENV)/bin/python
PACKAGES := edge_agent server_sync sync_protocol operations
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check -c constraints.txt
export PYTHONUNBUFFERED := 1

.PHONY: help demo test check lint types floors format constraints wheel clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | column -t -s '|' 2>/dev/null \
	  || sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1: \2/p' Makefile

demo: $(VENV)/.installed-demo ## a survey from imagery to the curation store; FLIGHT= BUNDLE= for your own
	@$(PY) -m demo $(if $(FLIGHT),--flight "$(FLIGHT)") $(if $(BUNDLE),--bundle "$(BUNDLE)")

test: $(VENV)/.installed-dev ## all tests; ARGS= passes options to pytest
	$(PY) -m pytest $(ARGS)

check: lint types floors ## ruff, mypy --strict, import-linter; make -k check shows all that fails

lint: $(VENV)/.installed-dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: $(VENV)/.installed-dev
	$(PY) -m mypy --strict
	$(PY) -m mypy --strict benchmarks/*.py
	MYPYPATH=models:. $(PY) -m mypy --strict models/training models/*.py
	MYPYPATH=docs:. $(PY) -m mypy --strict docs/*.py

floors: $(VENV)/.installed-dev
	$(VENV)/bin/lint-imports --no-logo

format: $(VENV)/.installed-dev ## lay the code out and sort imports
	$(PY) -m ruff check --fix-only .
	$(PY) -m ruff format .

# One set of versions for Python 3.11 to 3.13 on every platform. pip itself stays the user's.
constraints: build/constraints-tool/.installed ## pin anew all versions in constraints.txt
	{ echo "# Made by 'make constraints' from pyproject.toml; do not edit by hand." && \
	  build/constraints-tool/bin/uv pip compile pyproject.toml --all-extras --universal \
	    --python-version 3.11 --fork-strategy fewest --prerelease disallow --no-emit-package pip \
	    --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet; \
	} > build/constraints.txt
	mv build/constraints.txt constraints.txt

wheel: $(VENV)/.installed-dev ## dist/tilesift-*.whl
	$(PY) -m build --wheel --no-isolation

clean: ## remove all that make made
	rm -rf $(VENV) build dist demo-output .mypy_cache .ruff_cache .pytest_cache \
	  .import_linter_cache .hypothesis
	find $(PACKAGES) docs models tests demo benchmarks -name __pycache__ -prune -exec rm -rf {} +

# An editable install follows the sources; only what it installs can go stale.
$(VENV)/.installed-demo: $(PY) pyproject.toml constraints.txt
	@echo "setting up $(VENV) (the first time takes a minute)"
	@$(PY) $(PIP_INSTALL) -e '.[demo]'
	@touch "$@"

$(VENV)/.installed-dev: $(PY) pyproject.toml constraints.txt
	@echo "setting up $(VENV) with the tools for tests (the first time takes a minute or two)"
	@$(PY) $(PIP_INSTALL) -e '.[dev]'
	@touch $(VENV)/.installed-demo "$@"

# A venv whose interpreter was removed has a dangling link here and is made anew.
$(PY):
	@fits='import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))'; \
	for python in $(if $(PYTHON),"$(PYTHON)",python3.13 python3.12 python3.11 python3); do \
	  if "$$python" -c "$$fits" >/dev/null 2>&1; then \
	    echo "making $(VENV) with $$("$$python" --version)"; \
	    exec "$$python" -m venv --clear "$(VENV)"; \
	  fi; \
	done; \
	echo "No suitable Python: need 3.11, 3.12 or 3.13 with its venv module." >&2; \
	echo "On Debian or Ubuntu: apt install python3 python3-venv. Elsewhere: make PYTHON=/path/to/python3" >&2; \
	exit 1

build/constraints-tool/.installed: $(PY)
	@$(PY) -m venv --clear build/constraints-tool
	@build/constraints-tool/bin/python -m pip install --quiet --disable-pip-version-check uv
	@touch "$@"
