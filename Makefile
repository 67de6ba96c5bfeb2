# make demo, make test, make lint, make run; `make help` lists them all. ARGS goes to the command behind a target.
#
# Everything happens in one virtual environment, from the hash-pinned files in requirements/. It is made when it is
# first needed, and brought up to date when a stamp in it is older than the files it came from.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
UV ?= uv

# What an activated environment or a habit of the shell would change about ours.
unexport PYTHONHOME PYTHONPATH VIRTUAL_ENV PIP_PREFIX PIP_REQUIRE_VIRTUALENV PIP_TARGET PIP_USER

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
RUN_STAMP := $(VENV)/.bridge-run
DEV_STAMP := $(VENV)/.bridge-dev
RELEASE_STAMP := $(VENV)-release/.bridge-release
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' bridge/__init__.py)

.DEFAULT_GOAL := help
.PHONY: help demo run test soak coverage lint format docs screenshots venv wheel release lock audit clean

help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## /\1	/p' $(MAKEFILE_LIST) | expand -t 13
	@echo 'Arguments: make demo ARGS="--messages 300 --duration 12"; another Python: make PYTHON=python3.12 …'

demo: $(RUN_STAMP) ## the whole product on this machine: no keys, no network
	@$(BIN)/bridge demo $(ARGS)

run: $(RUN_STAMP) ## the service, with ./bridge.toml
	@$(BIN)/bridge serve $(ARGS)

test: $(DEV_STAMP) ## the tests, in three processes: many of them wait for others
	@$(BIN)/python -m pytest -n 3 --dist worksteal $(ARGS)

coverage: $(DEV_STAMP) ## the tests of the core, which have to reach every branch of it
	@$(BIN)/python -m pytest -q -n 2 tests/core --cov=bridge.core --cov-branch --cov-fail-under=100 \
		--cov-report=term-missing:skip-covered

soak: $(DEV_STAMP) ## kill -9 under traffic, and what it costs: ARGS="--kills 50 --messages 50000 --postgres"
	@$(BIN)/python -m bench.soak.run $(ARGS)

lint: $(DEV_STAMP) ## style, types, and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(DEV_STAMP) ## put the code into its usual form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(RUN_STAMP) ## docs/settings.md, from the program
	@$(BIN)/python -m bridge.settings.reference > docs/settings.md

screenshots: $(DEV_STAMP) ## the pictures in docs/images, from the demo (needs Chromium)
	@$(BIN)/python docs/screenshots.py

venv: $(DEV_STAMP) ## the virtual environment, with everything a developer needs

wheel: $(RUN_STAMP) ## dist/bridge-….whl
	@$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/bridge-$(VERSION)-*.whl

# The wheel as a stranger gets it: nothing but what runs, far from the checkout. The list of what is inside (an SBOM,
# CycloneDX) is read from that environment. PYTHON=python3.13 tries another Python.
release: wheel $(RELEASE_STAMP) ## dist/: the wheel, tried by itself, and its SBOM
	@rm -rf $(VENV)-clean
	@$(PYTHON) -m venv --without-pip $(VENV)-clean
	@$(CLEAN_PIP) --require-hashes -r requirements/run.txt
	@$(CLEAN_PIP) --no-deps dist/bridge-$(VERSION)-*.whl
	cd $(VENV)-clean && bin/python -P -m bridge demo --messages 100 --duration 15
	@sed 's/^dynamic = .*/version = "$(VERSION)"/' pyproject.toml > $(VENV)-clean/pyproject.toml
	@$(VENV)-release/bin/cyclonedx-py environment --mc-type application --output-reproducible \
		--pyproject $(VENV)-clean/pyproject.toml --output-file dist/bridge-$(VERSION).cdx.json $(VENV)-clean/bin/python
	@ls dist/bridge-$(VERSION)*

CLEAN_PIP = $(PIP) --python $(VENV)-clean/bin/python install

lock: ## pin the newest versions that fit (needs uv)
	@$(call pin,build.txt,requirements/build.in)
	@$(call pin,run.txt,pyproject.toml --all-extras -c requirements/build.txt)
	@$(call pin,release.txt,requirements/release.in)
	@$(call pin,dev.txt,requirements/build.in pyproject.toml --all-extras requirements/dev.in -c requirements/build.txt -c requirements/run.txt)

pin = $(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock" --output-file requirements/$(1) $(2)

audit: $(RELEASE_STAMP) ## known holes in what is pinned (needs the network)
	@for file in run build dev release; do echo "requirements/$$file.txt"; \
		$(VENV)-release/bin/pip-audit --require-hashes --disable-pip --strict \
			--requirement requirements/$$file.txt || failed=1; done; test -z "$$failed"

clean: ## remove the virtual environment, caches and built files
	rm -rf $(VENV) $(VENV)-clean $(VENV)-release dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage*
	find bridge tests -type d -name __pycache__ -prune -exec rm -rf {} +

# --- the virtual environment ---

$(RUN_STAMP): requirements/build.txt requirements/run.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'bridge needs Python 3.11 or newer, and $(PYTHON) is not that: name one, as in "make PYTHON=python3.12 …".' >&2; exit 1; }
	@echo 'Bringing the virtual environment $(VENV) up to date (the first time takes a minute) …'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes -r requirements/build.txt -r requirements/run.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV_STAMP): requirements/dev.txt $(RUN_STAMP)
	@echo 'Installing what tests and checks need …'
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

$(RELEASE_STAMP): requirements/release.txt $(RUN_STAMP)
	@echo 'Installing what looks at a release …'
	@$(PYTHON) -m venv --without-pip $(VENV)-release
	@$(PIP) --python $(VENV)-release/bin/python install --require-hashes -r requirements/release.txt
	@touch $@
