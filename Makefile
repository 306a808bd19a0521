# `make demo` and `make test` each do all of their own set-up.
PYTHON ?= python3.11
BIN = .venv/bin
READY = .venv/ready

.PHONY: help demo test lint docs bench clean

help:
	@echo "make demo   featurize a small corpus, train on it, show the trade-off"
	@echo "make test   run the tests"
	@echo "make lint   style and types"
	@echo "make docs   build the pages and the API reference, into site/"
	@echo "make bench  measure, against peers and limits"

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

test: $(READY)
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)
	$(BIN)/mkdocs build --strict # not --quiet, which lets warnings pass

bench: $(READY)
	$(BIN)/python -m benchmarks.featurize

clean:
	rm -rf .venv site demo melgrid-demo features.zarr
