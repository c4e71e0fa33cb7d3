# `make help` lists what there is. Everything needs only Python 3.10 to 3.13 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# two processes of one thread each: PyTorch's threads would wait for each other
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow check format lint types imports bench bench-cost bench-pruning bench-search bench-sparse gpu-bundle gpu-placement gpu-tables tables schema clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt 'setuptools>=77' wheel torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

install: $(STAMP) ## Create .venv and install hwcomp with the tested versions

demo: $(STAMP) ## Compile the shipped digits network for this machine, and show what came of it
	$(BIN)/hwcomp compile examples/digits/model.py --target host
	@echo "Plain ONNX Runtime runs it:"
	@$(BIN)/python examples/digits/run_plain.py build/digits-host/model.onnx

test: $(STAMP) ## Run the test suite
	$(PYTEST) -m "not slow"

test-slow: $(STAMP) ## Run the tests that take minutes
	$(PYTEST) -m slow

format: $(STAMP) ## Write the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only --quiet .

lint: $(STAMP) ## Check format and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP) ## Check types
	$(BIN)/mypy

imports: $(STAMP) ## Check that imports go one way
	$(BIN)/lint-imports

check: lint types imports test ## Everything that must be green: format, lint, types, imports, tests

bench: $(STAMP) ## Measure what the README claims (about 20 minutes on a quiet machine)
	$(BIN)/python benchmarks/compile_models.py
	$(MAKE) bench-cost
	$(BIN)/python benchmarks/cifar10.py
	$(BIN)/python benchmarks/start_up.py
	$(BIN)/python benchmarks/tables.py

bench-cost: $(STAMP) ## Measure how good the latency tables are (about 30 minutes on a quiet machine)
	$(BIN)/python benchmarks/cost_models.py
	$(BIN)/python benchmarks/learned_kernels.py
	$(BIN)/python benchmarks/store.py

bench-pruning: $(STAMP) ## Measure what pruning costs in accuracy (hours; HWCOMP_CIFAR10 must name the data, see examples/cifar10)
	$(BIN)/python benchmarks/pruning.py

bench-search: $(STAMP) ## Measure what a search costs and whether it wins (hours; HWCOMP_CIFAR10 must name the data)
	$(BIN)/python benchmarks/search_cost.py
	$(BIN)/python benchmarks/search_contest.py
	$(BIN)/python benchmarks/search_budgets.py
	$(BIN)/python benchmarks/bit_widths.py
	$(BIN)/python benchmarks/filter_splits.py

TABLES := cost_models/tables
bench-sparse: $(STAMP) ## Measure sparse kernels and networks (an hour; accuracy takes hours, HWCOMP_CIFAR10 must name the data)
	$(BIN)/python benchmarks/sparse_kernels.py
	$(BIN)/python benchmarks/sparse_networks.py
	$(BIN)/python benchmarks/sparse_sizes.py
	$(BIN)/python benchmarks/tvm_networks.py
	$(BIN)/python benchmarks/segments.py
	$(BIN)/python benchmarks/tuning.py
	$(BIN)/python benchmarks/sparse_arm.py
	$(BIN)/python benchmarks/sparse_accuracy.py

gpu-bundle: $(STAMP) ## Pack what a GPU machine without network needs to measure everything (docs/gpu.md)
	$(BIN)/python benchmarks/gpu/build.py

gpu-placement: $(STAMP) ## Ask ONNX Runtime's CUDA provider, without a GPU, where it would run our files (downloads 250 MB)
	$(BIN)/python benchmarks/gpu_placement.py

gpu-tables: $(STAMP) ## Keep what a bundle measured, RESULTS=its folder, and print the tables
	$(BIN)/python benchmarks/gpu/gather.py $(RESULTS)

tables: $(STAMP) ## Count the shipped tables of ARM cores again (about 20 minutes; the load of the machine does not matter)
	$(BIN)/hwcomp setup emulation
	@for core in a53 a72 a76; do name=arm_cortex_$$core; store=build/tables/$$core/store.sqlite; \
	  mkdir -p build/tables/$$core && \
	  $(BIN)/hwcomp profile --target $$name --device emulated --minutes 7 --store $$store && \
	  $(BIN)/hwcomp profile export $(TABLES)/$$name.jsonl --store $$store && \
	  cp build/tables/$$core/store-models/*.json $(TABLES)/$$name.model.json || exit 1; done

schema: $(STAMP) ## Write docs/manifest.schema.json
	$(BIN)/python docs/write_schema.py

clean: ## Remove what was built
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
