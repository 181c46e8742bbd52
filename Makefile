# `make run` scans the example recordings with the embedded bundle; `make test` runs the whole suite.
# Each sets up its own virtual environment: the first holds only the runtime, the second the builders' tools too.

PYTHON ?= python3
RUN := .venv-run
DEV := .venv

.PHONY: run test lint clean

run: $(RUN)/.done
	$(RUN)/bin/vivavoce scan --exit-zero examples/audio

test: $(DEV)/.done lint
	$(DEV)/bin/python -m pytest

lint: $(DEV)/.done
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy

$(RUN)/.done: pyproject.toml
	$(PYTHON) -m venv $(RUN)
	$(RUN)/bin/python -m pip install --quiet --editable ".[cpu,cli]"
	touch $@

# torch 2.13.0 is named first: a range would take a build with CUDA, several gigabytes that the tests do not use.
$(DEV)/.done: pyproject.toml
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python -m pip install --quiet torch==2.13.0
	$(DEV)/bin/python -m pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf $(RUN) $(DEV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
