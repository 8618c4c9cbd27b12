# Everything runs in .venv; make installs it on first use and again when the requirements change.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

BENCHMARKS := cost training engine search confidence

.PHONY: run test lint bench bench-quick clean

run: .venv/installed
	$(BIN)/scalesearch run --target-flops 400M

test: .venv/installed-test
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder --durations=15 --cov --cov-report=term --cov-fail-under=90

lint: .venv/installed-lint
	$(BIN)/ruff check .
	$(BIN)/mypy

# Side by side with peers, one file each in results/benchmarks/; zero_cost.py, inherited.py and base_search.py need a recorded run, progressive.py trains long.
bench bench-quick: .venv/installed
	@for name in $(BENCHMARKS); do \
	  echo "benchmarks/$$name.py"; \
	  $(BIN)/python benchmarks/$$name.py $(if $(findstring quick,$@),--quick) --json results/benchmarks/$$name.json || exit 1; \
	done

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
