# `make run` scans the example recordings with the embedded bundle; `make test` runs the suite, `make nightly` also what takes minutes
# by nature, `make quick` a part in seconds. The first sets up a virtual environment with the runtime alone, the others one with everything.

PYTHON ?= python3
RUN := .venv-run
DEV := .venv

# The corpus and the teacher that the embedded model is made from, and the folder where it is made.
CORPUS ?= runs/corpus
TEACHER ?= runs/teacher/whisper-base-encoder/model.safetensors
RECIPE ?= default
MODEL ?= runs/default
TRAINED_ON ?= vivavoce train
# More speech for the recipe `streaming` to learn features from: what converters/training_data builds.
SPEECH ?= runs/speech
# How many decisions may flip by the scan's estimate; the gate then measures.
BUDGET ?= flips=0.55%

# Two processes, a module in one piece; tests/conftest.py gives each one thread.
PYTEST = $(DEV)/bin/python -m pytest --numprocesses 2 --dist loadfile
# What `make quick` tries: rooms whose tests take milliseconds.
QUICK := tests/house/test_public.py tests/house/test_rooms.py tests/calibration tests/runtime --ignore tests/calibration/test_scoring.py \
	$(addprefix --ignore tests/runtime/,bench commands engines test_real_device.py)

.PHONY: run test quick nightly lint model model-large card figures schema docs release sbom licences lock clean

run: $(RUN)/.done
	$(RUN)/bin/vivavoce scan --exit-zero examples/audio

test: $(DEV)/.done lint
	$(PYTEST) -m "not slow" --durations 10

quick: $(DEV)/.done lint
	$(PYTEST) -m "not slow" $(QUICK)

nightly: $(DEV)/.done lint
	$(PYTEST) --durations 30 --cov --cov-report term

lint: $(DEV)/.done
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy

# The embedded bundle, from its recipe: two to three hours on a CPU. A perceptron on the teacher's own layers, then export, weights
# in 8 bits, the perceptron fitted to what these give, INT8, calibration on dev's unseen systems, figures on dev and eval and the comparison with float32 on eval.
model: $(DEV)/.done
	$(DEV)/bin/vivavoce distill $(RECIPE) --corpus $(CORPUS) $(if $(wildcard $(SPEECH)),--speech $(SPEECH)) --teacher $(TEACHER) --out $(MODEL)
	rm -rf $(addprefix $(MODEL)/,float rounded refitted int8 calibrated reference bundle)
	$(DEV)/bin/vivavoce convert $(MODEL)/student.safetensors --name $(RECIPE) --out $(MODEL)/float \
		--licence "Apache-2.0 AND MIT (layers of OpenAI Whisper base)" --trained-on "$(TRAINED_ON)"
	$(DEV)/bin/vivavoce quantize $(MODEL)/float --target x86-vnni --calibration $(CORPUS) --weights-only --out $(MODEL)/rounded
	$(DEV)/bin/vivavoce refit $(MODEL)/rounded --recipe $(RECIPE) --corpus $(CORPUS) --name vivavoce --out $(MODEL)/refitted
	$(DEV)/bin/vivavoce quantize $(MODEL)/refitted --target x86-vnni --calibration $(CORPUS) --budget $(BUDGET) --limits benchmarks/limits.toml --out $(MODEL)/int8
	$(DEV)/bin/vivavoce calibrate $(MODEL)/int8 $(CORPUS) --subset dev --only seen=no --test dev --test eval --name vivavoce --monitor --bundle-name $(RECIPE) --out $(MODEL)/calibrated
	$(DEV)/bin/vivavoce calibrate $(MODEL)/refitted $(CORPUS) --subset dev --only seen=no --name vivavoce --out $(MODEL)/reference
	$(DEV)/bin/vivavoce compare $(MODEL)/calibrated $(MODEL)/reference $(CORPUS) --subset eval --name vivavoce --into $(MODEL)/bundle

# The larger detector likewise; `make model RECIPE=streaming` makes a student whose frames are computed once.
model-large:
	$(MAKE) model RECIPE=large MODEL=runs/large

# The model card's figures, of the bundle that `make model` made; then `python benchmarks/embed.py` embeds it with the card.
card: $(DEV)/.done
	$(DEV)/bin/python benchmarks/card.py $(CORPUS) --bundle $(MODEL)/bundle --name vivavoce

# The figures of the README, measured on this machine.
figures: $(DEV)/.done
	$(DEV)/bin/python benchmarks/figures.py

# What other programs validate a manifest against.
schema: $(DEV)/.done
	$(DEV)/bin/python -c "from vivavoce.bundle import schema; print(schema(), end='')" > docs/bundle.schema.json

# The pages of docs/ as a site, in site/; a dead link is an error. The configuration is one that MkDocs reads too.
docs: $(DEV)/.done
	$(DEV)/bin/zensical build --strict

# The distributions in dist/, checked as PyPI and their users see them.
release: $(DEV)/.done
	rm -rf dist
	$(DEV)/bin/python -m build
	$(DEV)/bin/python -m build --outdir dist sdk/large
	$(DEV)/bin/uv tool run twine check --strict dist/*
	$(DEV)/bin/uv tool run check-wheel-contents dist/*.whl

# What an app takes in with the runtime: a bill of materials in CycloneDX's form, sbom.json, and the licences.
sbom: $(DEV)/.done $(RUN)/.done
	$(DEV)/bin/uv tool run --from cyclonedx-bom cyclonedx-py environment --output-file sbom.json $(RUN)/bin/python

licences: $(DEV)/.done $(RUN)/.done
	$(DEV)/bin/uv tool run pip-licenses --python $(RUN)/bin/python --order license

$(RUN)/.done: pyproject.toml
	$(PYTHON) -m venv $(RUN)
	$(RUN)/bin/python -m pip install --quiet --editable ".[cpu,cli]"
	touch $@

# By hash, all but torch, whose builds differ between machines. It is named: a range would take a build with CUDA, several
# gigabytes that the tests do not use.
$(DEV)/.done: pyproject.toml requirements-dev.txt
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python -m pip install --quiet --no-deps --require-hashes --requirement requirements-dev.txt
	$(DEV)/bin/python -m pip install --quiet torch==2.13.0
	$(DEV)/bin/python -m pip install --quiet --no-deps --editable .
	touch $@

# The newest of everything that the suite runs with, and the hashes.
lock: $(DEV)/.done
	echo "torch ; sys_platform == 'never'" | $(DEV)/bin/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
		--upgrade --generate-hashes --override /dev/stdin --no-emit-package torch --no-annotate \
		--custom-compile-command "make lock" --output-file requirements-dev.txt

clean:
	rm -rf $(RUN) $(DEV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
