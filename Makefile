# Everything here makes its own virtual environment in .venv when there is none.
PYTHON ?= python3
PY := .venv/bin/python
# The lock is whole: left to look for more, older pips take `coverage[toml]` from outside of it.
PIP := $(PY) -m pip --quiet --disable-pip-version-check install --no-deps --require-hashes

.PHONY: help demo run doctor test torture check audit bench peer screenshots lock

help:  ## Say what can be made
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/:.*##/\t/'

demo: .venv/run  ## Try it: the bridge with a simulated Trakt and website, in your browser
	@$(PY) -m app demo

run: .venv/run  ## Run the bridge, with the settings in .env
	@$(PY) -m app serve

doctor: .venv/run  ## Check settings, database, migrations and clock
	@$(PY) -m app doctor

test: .venv/dev  ## Run all tests
	@$(PY) -m pytest

torture: .venv/dev  ## Kill the bridge again and again, and count its posts (ARGS="--long", ARGS="--seed 7")
	@$(PY) -m tests.torture $(ARGS)

check: .venv/dev  ## Check format, style, types and the direction of imports
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@$(PY) -m pytest --quiet --numprocesses=0 tests/test_imports.py

audit:  ## Ask the advisory services about all locked packages (needs uv and the internet)
	@uvx pip-audit --strict --progress-spinner off --disable-pip --require-hashes \
		--requirement requirements-dev.txt || { \
		echo "Something was found, or it was not audited because the service could not be asked; see above" >&2; exit 1; }

bench: .venv/dev  ## Measure the bridge on this machine (ARGS="--help" tells the choices)
	@$(PY) -m bench $(ARGS)

peer: .venv/dev  ## Put all that another program gets wrong, and its loads, to ours; print both
	@$(PY) -m bench.peer $(ARGS)

screenshots: .venv/dev  ## Take the pictures of README and docs anew (needs Chromium and a font with emoji)
	@SCREENSHOTS=docs/images $(PY) -m pytest --quiet --numprocesses=0 tests/test_browser.py

lock:  ## Renew the locked requirements (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --extra postgres pyproject.toml --output-file requirements.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --extra dev --constraint requirements.txt pyproject.toml \
		--output-file requirements-dev.txt

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "OwnYourTrakt needs Python 3.11 or newer; say which one to use: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "Python cannot make virtual environments here; install its venv module (Debian: apt install python3-venv)" >&2; exit 1; }
	@echo "Setting up .venv (once) …"
	@$(PYTHON) -m venv .venv

.venv/run: requirements.txt | $(PY)
	@$(PIP) -r requirements.txt
	@touch $@

.venv/dev: requirements-dev.txt | $(PY)
	@$(PIP) -r requirements-dev.txt
	@touch $@ .venv/run
