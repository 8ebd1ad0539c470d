# Every target sets up what it needs in .venv; python3 >= 3.11 and make are enough to start.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUNTIME := $(shell test -e /proc/driver/nvidia/version && echo gpu || echo cpu)
# Twice quiet: setuptools warns at length about editable installs.
INSTALL := $(BIN)/python -m pip install --quiet --quiet
SOURCE_FOLDERS := $(shell find runtime export service proto/automask -type d -not -name __pycache__)

.PHONY: help demo test fuzz check proto proto-check bench quality clean
QUESTIONS :=
EXAMPLES := 2000
DATA :=

help:
	@echo 'make demo     mask a real photo with the embedded model, and say where the picture is'
	@echo 'make test     run the tests'
	@echo 'make fuzz     read mutated and huge image files, 2000 of each format, and mutated stores (make fuzz EXAMPLES=10000: that many)'
	@echo 'make check    lint (ruff) and types (mypy)'
	@echo 'make proto    make the gRPC code from proto/ and lint the contract (make proto-check only compares)'
	@echo 'make bench    measure everything beside what else one would use, and put the figures into the README (about an hour)'
	@echo 'make bench QUESTIONS="startup service"   only these of: quality pipeline startup scaling postprocess gpu service playground store_latency durability cluster store_throughput capacity'
	@echo 'make quality DATA=DIR   measure the masks on photos with ground truth'
	@echo 'make clean    remove everything that these made'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "automask needs python3 >= 3.11; try make PYTHON=python3.12")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.demo: $(BIN)/python pyproject.toml
	@echo 'Installing automask with its "$(RUNTIME)" runtime into $(VENV) ...'
	@$(INSTALL) --editable '.[$(RUNTIME)]' --config-settings editable_mode=strict
	@touch $@

# A strict editable install links each file, so a new file needs a new install.
$(VENV)/.dev: $(BIN)/python Makefile pyproject.toml $(SOURCE_FOLDERS)
	@echo 'Installing automask with all that tests and checks need into $(VENV) ...'
	@$(INSTALL) --editable '.[$(RUNTIME),hub,text,ray,otel,export,dev]' --config-settings editable_mode=strict
	@$(INSTALL) --no-deps open_clip_torch==3.3.0 # for CLIP's vocabulary, a file inside it; what it depends on is not wanted
	@touch $@

# An environment of its own: grpcio-tools pins protobuf. What 1.76 makes loads on protobuf 6.31 to 7.
.venv-proto/.made: Makefile
	@$(PYTHON) -m venv .venv-proto
	@.venv-proto/bin/python -m pip install --quiet --quiet grpcio-tools==1.76.0 mypy-protobuf==3.7.0 buf-bin==1.75.0 googleapis-common-protos==1.76.0
	@touch $@

proto: .venv-proto/.made
	@.venv-proto/bin/python proto/generate.py

proto-check: .venv-proto/.made
	@.venv-proto/bin/python proto/generate.py --check

demo: $(VENV)/.demo
	@$(BIN)/python examples/side_by_side.py examples/astronaut.jpg "the astronaut" demo/astronaut.png

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

fuzz: $(VENV)/.dev
	AUTOMASK_FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest --timeout 0 tests/runtime/test_fuzz_images.py tests/runtime/test_hostile_images.py tests/runtime/fuzz_large_images.py tests/service/test_store_damage.py

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --package automask
	$(BIN)/mypy tests benchmarks examples deploy

# rembg is only measured beside, and brings much: not in the extra `dev`.
$(VENV)/.bench: $(VENV)/.dev
	@$(INSTALL) rembg==2.0.86
	@touch $@

bench: $(VENV)/.bench
	$(BIN)/python benchmarks/run.py $(QUESTIONS) $(if $(DATA),--data '$(DATA)')
	$(BIN)/python benchmarks/report.py

quality: $(VENV)/.dev
	@test -n '$(DATA)' || { echo 'make quality DATA=DIR, a folder with images/, masks/ and pairs.json'; exit 2; }
	$(BIN)/python benchmarks/quality.py --data '$(DATA)'

clean:
	rm -rf $(VENV) .venv-proto build dist demo *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
