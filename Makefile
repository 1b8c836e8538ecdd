# Everything runs in a virtual environment that the first call makes, and later calls find ready.
#
#   make demo        compile ResNet-18 for TensorRT and run it; without a GPU, on the CPU
#   make test        the checks of `make lint`, then the tests that need no GPU
#   make gpu-test    the tests that need an NVIDIA GPU and TensorRT
#   make bench       seven networks next to the bare engine, TVM and PyTorch; without a GPU, on the CPU
#   make lint        ruff and mypy
#   make clean       remove all that these made
#
# PYTHON=<python>    the Python to make the environment from; where it has TVM with Relay, that TVM is used
# BENCH=<options>    of benchmarks/bench.py, such as BENCH="--models resnet18_v1 --batches 1"
# VENV=<folder>      the environment: one to make, or your own with the TVM that is in it

SHELL := bash
# The TVM of tools/install_tvm.py is for Python 3.10 and 3.11.
PYTHON ?= $(shell for p in python3.11 python3.10 python3; do $$p -c "" 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin

# Otherwise TVM looks for tuned schedules on the network at each new target.
export TOPHUB_LOCATION ?= NONE

.PHONY: demo test gpu-test bench lint clean

demo: $(VENV)/installed
	$(BIN)/python examples/demo.py

test: lint
	$(BIN)/python -m pytest -n auto

gpu-test: $(VENV)/installed-tensorrt
	$(BIN)/python -m pytest -m gpu

bench: $(VENV)/installed $(if $(shell command -v nvidia-smi),$(VENV)/installed-tensorrt)
	$(BIN)/python -m benchmarks.bench $(BENCH)

lint: $(VENV)/installed
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

clean:
	rm -rf .venv build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache .pkl_memoize_py3
	find relay_trt tests tools examples benchmarks -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv $$($(PYTHON) -c "import tvm.relay" 2>/dev/null && echo --system-site-packages) $(VENV)

# A stamp: nothing is installed again until one of the files that say what to install has changed.
$(VENV)/installed: setup.py pyproject.toml config.cmake tools/install_tvm.py | $(BIN)/python
	$(BIN)/python tools/install_tvm.py
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[benchmarks,mxnet,onnx,tests]"
	touch $@

$(VENV)/installed-tensorrt: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[tensorrt]"
	touch $@
