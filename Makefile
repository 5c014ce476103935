# Every target sets up .venv by itself; the second time that takes no time.

PYTHON  ?= python3
WORKERS ?= 2
VENV    := .venv
BIN     := $(VENV)/bin
READY   := $(VENV)/.ready
PIP     := $(BIN)/python -m pip --disable-pip-version-check --quiet

# TensorFlow's start-up messages say nothing that a reader of a test run needs.
export TF_CPP_MIN_LOG_LEVEL ?= 3

.DEFAULT_GOAL := help
.PHONY: help test demo lint format types doctest wheel docs clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): setup.cfg pyproject.toml
	@echo "Setting up $(VENV) (a few minutes and 3.5 GB the first time) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "mtl_zoo needs Python 3.11 or newer. Found: $$($(PYTHON) --version 2>&1)." \
	       "Name another one: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "Could not make $(VENV). On Debian: apt-get install python3-venv"; exit 1; }
	@$(PIP) install --editable '.[dev]'
	@touch $@

test: $(READY)  ## Run all tests (WORKERS=2 processes)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

demo: $(READY)  ## Train and use a small multi-task model, with pictures
	$(BIN)/python recipes/demo.py

lint: $(READY)  ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)  ## Mend what lint can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY)  ## Check types
	$(BIN)/mypy

doctest: $(READY)  ## Run the examples in docstrings
	$(BIN)/python -m pytest --doctest-modules mtl_zoo -q

wheel: $(READY)  ## Build dist/*.whl and check what is in it
	rm -rf build dist
	$(BIN)/python -m build --wheel --outdir dist .
	@$(BIN)/python -m zipfile --list dist/*.whl | awk 'NR > 1 {print $$1}' | sort \
	  | tee build/contents
	@for file in py.typed trunks/weights/efficientnet_lite0_imagenet.json \
	             trunks/weights/efficientnet_lite0_imagenet.npz \
	             export/templates/client.py export/templates/kubernetes.yaml \
	             export/xla_gpu/aot.cc export/xla_gpu/targets/l4_sm_89.textproto; do \
	  grep -qx "mtl_zoo/$$file" build/contents || { \
	    echo "The wheel lacks mtl_zoo/$$file: see package_data in setup.cfg."; exit 1; }; \
	done
	@if grep -Ev '^mtl_zoo(-[^/]*\.dist-info)?/' build/contents; then \
	  echo "The wheel holds more than the package: see packages in setup.cfg."; exit 1; \
	fi

docs: $(READY)  ## Build docs/_build/index.html
	@$(PIP) install --editable '.[docs]'
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build

clean:  ## Remove everything that make has made, .venv too
	rm -rf $(VENV) build dist docs/_build *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
