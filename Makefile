# Two commands on a fresh machine:  make run   (install everything, do the first run)
#                                   make test  (install everything, pass the tests)
# While you work:                   make quick (lint, and the tests that are quick)
PYTHON ?= python3
BIN := .venv/bin
# two workers of one thread each; conftest.py says which tests belong together and which begin
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder
PACKAGES := core $(sort $(dir $(wildcard plugins/*/pyproject.toml)))

.PHONY: install run test quick lint clean

install: .venv/installed

.venv/installed: requirements.txt constraints.txt core/pyproject.toml $(wildcard plugins/*/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("ftp needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --no-compile -c constraints.txt -r requirements.txt
	# one core compiles the libraries (but for the many models that nobody imports), while the other installs the packages;
	# what builds these is there, as a new environment for each of them takes minutes in all
	$(BIN)/python -m compileall -q -x 'transformers/models/|/tests/' .venv/lib > /dev/null & \
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-build-isolation $(addprefix -e ./,$(patsubst %/,%,$(PACKAGES))) \
	&& { wait; touch $@; }

run: install
	$(BIN)/ftp run --plugins lora,sentiment

test: install lint
	$(PYTEST)

quick: install lint
	$(PYTEST) -m "not slow and not gpu"

lint: install
	$(BIN)/ruff check .
	$(BIN)/mypy
	for helpers in plugins/*/tests/conftest.py; do $(BIN)/mypy $$helpers || exit 1; done  # each is a module `conftest`
	$(BIN)/lint-imports

clean:
	rm -rf .venv runs build
