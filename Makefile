# Everything runs in .venv; make installs it on first use and again when the requirements change.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: run test lint bench clean

run: .venv/installed
	$(BIN)/scalesearch run --target-flops 400M

test: .venv/installed-test
	$(BIN)/python -m pytest -n 2 --dist loadscope --cov --cov-report=term --cov-fail-under=90

lint: .venv/installed-lint
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/installed
	$(BIN)/python benchmarks/cost.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/search.py

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) -e .
	@touch $@

.venv/installed-test: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) -e '.[test]'
	@touch $@ .venv/installed

.venv/installed-lint: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) -e '.[test,lint]'
	@touch $@ .venv/installed .venv/installed-test

clean:
	rm -rf .venv build dist *.egg-info .coverage* .pytest_cache .mypy_cache .ruff_cache
