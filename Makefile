# `make demo`, `make test` and `make test-all` each do all of their own set-up.
PYTHON ?= python3.11
BIN = .venv/bin
# Two processes, for two cores; one that is idle takes tests over from the other.
PYTEST = $(BIN)/python -m pytest -n 2 --dist worksteal
READY = .venv/ready

.PHONY: help demo test test-all lint notebook docs bench clean

help:
	@echo "make demo      featurize a small corpus, train on it, show the trade-off"
	@echo "make test      run the tests, but for the slow ones"
	@echo "make test-all  run all tests: also kills, signals, crashes, clusters and the browser"
	@echo "make lint      style and types"
	@echo "make notebook  run docs/notebook.ipynb, and make a page of it"
	@echo "make docs      build the pages and the API reference, into site/"
	@echo "make bench     measure, against peers and limits"

$(READY): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev,essentia]'
	touch $(READY)

demo: $(READY)
	$(BIN)/featurize -o demo/features.zarr --sr 16000 --mels 96,16 --hop x1
	$(BIN)/featurize -o demo/features.zarr --sr 16000 --mels 48 --hop x2
	$(BIN)/melgrid study demo/features.zarr -o demo/results.jsonl \
		--width 0.125 --epochs 15 --batch-size 16 --runs 1
	$(BIN)/melgrid report demo/results.jsonl -o demo/report --listen 3 --store demo/features.zarr
	$(BIN)/melgrid train demo/features.zarr -o demo/model.safetensors \
		--spec sr16000-mel48-x2-db --width 0.125 --epochs 15 --batch-size 16
	$(BIN)/melgrid demo demo/new --clips 12 --seed 1
	$(BIN)/melgrid tag demo/model.safetensors demo/new

test: $(READY)
	$(PYTEST) -m "not slow"

test-all: $(READY)
	$(PYTEST)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Its shell commands are those of .venv. What it prints and draws is not kept in git.
notebook: $(READY)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/jupyter-nbconvert --execute --to markdown \
		--CoalesceStreamsPreprocessor.enabled=True docs/notebook.ipynb

docs: notebook
	$(BIN)/mkdocs build --strict # not --quiet, which lets warnings pass

bench: $(READY)
	$(BIN)/python -m benchmarks.featurize

clean:
	rm -rf .venv site demo melgrid-demo features.zarr
