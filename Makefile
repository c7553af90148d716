# Two commands are all a newcomer needs: make demo, make test.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEMO   := sample_data/xrays

.PHONY: demo test test-slow check format lint types layers docs fix gpu-check clean

demo: $(VENV)/lite.done
	$(BIN)/effmed train --variant lite0 --data $(DEMO) --labels $(DEMO)/labels.csv
	$(BIN)/effmed evaluate
	$(BIN)/effmed predict --data $(DEMO)/images --out scores.csv --overwrite

test: $(VENV)/dev.done check
	$(BIN)/python -m pytest -q -n auto --dist worksteal -m "not slow and not gpu" --cov --cov-report=term

test-slow: $(VENV)/dev.done
	$(BIN)/python -m pytest -q -m "slow and not gpu"

# On a machine with a GPU, without its network: PYTHON has torch, WHEELS is a folder with what else it lacks.
gpu-check:
	$(PYTHON) -m benchmarks.gpu_check $(if $(WHEELS),--wheels $(WHEELS))

check: $(VENV)/dev.done format lint types layers

format:
	$(BIN)/ruff format --check .
lint:
	$(BIN)/ruff check .
types:
	$(BIN)/mypy
layers:
	$(BIN)/lint-imports

docs: $(VENV)/dev.done
	$(BIN)/python docs/generate.py

fix: $(VENV)/dev.done
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/lite.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[lite]"
	touch $@

$(VENV)/dev.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) runs scores.csv
