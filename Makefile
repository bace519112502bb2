# Each target installs what it needs first. pip, because it takes one matching build of torch and torchaudio.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: install quickstart test test-lowest coverage mutate lint format docs bench bench-peers readme sbom clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(BIN)/pip install --upgrade --quiet pip
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@

quickstart: install
	$(BIN)/decomp-ser quickstart --output runs/quickstart

test: install
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

# The oldest versions that pyproject.toml allows, chosen by uv and written to build/lowest.txt.
test-lowest: install
	$(BIN)/pip install --quiet uv
	mkdir -p build
	$(BIN)/uv pip compile --quiet --resolution lowest-direct --extra dev --python-version 3.11 \
		--no-annotate --no-header pyproject.toml -o build/lowest.txt
	$(BIN)/uv venv --quiet --clear --python 3.11 build/lowest
	$(BIN)/uv pip install --quiet --python build/lowest/bin/python -r build/lowest.txt -e ".[dev]"
	build/lowest/bin/python -m pytest -n auto --dist loadfile

coverage: install
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --cov --cov-report=term:skip-covered

# Hours. For some modules: make mutate MODULES=processing/folds.py
mutate: install
	$(BIN)/pip install --quiet --editable ".[mutate]"
	$(BIN)/python tests/mutation/mutate.py $(MODULES)

lint: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/codespell
	$(BIN)/hadolint Dockerfile

format: install
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

bench: install
	$(BIN)/python tests/benchmarks/front_end.py
	$(BIN)/python tests/benchmarks/network.py
	$(BIN)/python tests/benchmarks/inference.py
	$(BIN)/python tests/benchmarks/startup.py
	$(BIN)/python tests/benchmarks/explanation.py

# Beside what people use instead; SpeechBrain where it is installed. `make readme` shows the result.
bench-peers: install
	$(BIN)/python tests/benchmarks/peers.py --output model_cards/measurements/peers.json

readme: install
	$(BIN)/python tests/benchmarks/reproduction_cost.py > model_cards/experiments/cost.md
	$(BIN)/python -m train_scripts.reports.readme_results

# What is installed, with versions and licences, in CycloneDX.
sbom: install
	$(BIN)/pip install --quiet cyclonedx-bom
	mkdir -p build
	$(BIN)/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --output-reproducible \
		--of JSON -o build/sbom.json

clean:
	rm -rf $(VENV) runs build site *.egg-info
