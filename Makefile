# Every target sets up what it needs in .venv; python3 >= 3.11 and make are enough to start.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUNTIME := $(shell { test -e /proc/driver/nvidia/version || nvidia-smi -L; } >/dev/null 2>&1 && echo gpu || echo cpu)
# Twice quiet: setuptools warns at length about editable installs.
INSTALL := $(BIN)/python -m pip install --quiet --quiet
SOURCE_FOLDERS := $(shell find runtime export service proto/automask -type d -not -name __pycache__)

.PHONY: help demo docs test test-sam3 fuzz check proto proto-check constraints sbom bench quality clean
QUESTIONS :=
EXAMPLES := 2000
DATA :=
EXTRAS := cpu,text,service,http

help:
	@echo 'make demo     mask a real photo with the embedded model, and say where the picture is'
	@echo 'make docs     check the pages (spelling, Markdown, links) and build them as a site into build/docs'
	@echo 'make test     run the tests'
	@echo 'make test-sam3   export SAM 3 in an environment of its own, and compare it with transformers'
	@echo 'make fuzz     read mutated and huge image files, 2000 of each format, and mutated stores, bodies and messages (make fuzz EXAMPLES=10000: that many)'
	@echo 'make check    lint (ruff) and types (mypy)'
	@echo 'make proto    make the gRPC code from proto/ and lint the contract (make proto-check only compares)'
	@echo 'make constraints   write deploy/constraints.txt anew: the newest versions, for the images and for the tests'
	@echo 'make sbom     write dist/automask.cdx.json, a CycloneDX list of what deploy/Dockerfile.cpu installs (make sbom EXTRAS=gpu,text,service,http)'
	@echo 'make bench    measure everything beside what else one would use, and put the figures into docs/ (about an hour)'
	@echo 'make bench QUESTIONS="startup service"   only these of: quality edges pipeline concept startup scaling postprocess gpu service playground store_latency durability cluster store_throughput capacity'
	@echo 'make quality DATA=DIR   measure the masks on photos with ground truth'
	@echo 'make clean    remove everything that these made'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "automask needs python3 >= 3.11; try make PYTHON=python3.12")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip

# A strict editable install links each file, so a new file needs a new install.
$(VENV)/.demo: $(BIN)/python pyproject.toml $(SOURCE_FOLDERS)
	@echo 'Installing automask with its "$(RUNTIME)" runtime into $(VENV) ...'
	@$(INSTALL) --editable '.[$(RUNTIME)]' --config-settings editable_mode=strict
	@touch $@

$(VENV)/.dev: $(BIN)/python Makefile pyproject.toml deploy/constraints.txt $(SOURCE_FOLDERS)
	@echo 'Installing automask with all that tests and checks need into $(VENV) ...'
	@$(INSTALL) --constraint deploy/constraints.txt --editable '.[$(RUNTIME),hub,text,ray,otel,export,dev]' --config-settings editable_mode=strict
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

# An environment of its own, too: what deals with packages is none of ours.
.venv-supply/.made: Makefile
	@$(PYTHON) -m venv .venv-supply
	@.venv-supply/bin/python -m pip install --quiet --quiet uv==0.13.9 cyclonedx-bom==7.5.0
	@touch $@

# First what the tests need, of which export pins some, then what is deployed, in the same versions. `make test` uses them.
RESOLVE = .venv-supply/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-annotate pyproject.toml
constraints: .venv-supply/.made
	@$(RESOLVE) $(addprefix --extra ,cpu gpu hub text heif ray otel export dev) --output-file .venv-supply/tested.txt
	@echo 'onnxruntime-gpu[cuda,cudnn]' | $(RESOLVE) - $(addprefix --extra ,cpu gpu hub text heif ray otel) \
		--constraint .venv-supply/tested.txt --custom-compile-command 'make constraints' --output-file deploy/constraints.txt

# As in the image: without pip.
sbom: .venv-supply/.made
	@rm -rf .venv-sbom && $(PYTHON) -m venv --without-pip .venv-sbom
	@.venv-supply/bin/python -m pip --python .venv-sbom/bin/python install --quiet --quiet --constraint deploy/constraints.txt '.[$(EXTRAS)]'
	@mkdir -p dist
	@.venv-supply/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file dist/automask.cdx.json .venv-sbom/bin/python
	@echo dist/automask.cdx.json

# An environment of its own: what writes pages is none of ours. The references are read from the package, without torch.
.venv-docs/.made: Makefile pyproject.toml $(SOURCE_FOLDERS)
	@$(PYTHON) -m venv .venv-docs
	@.venv-docs/bin/python -m pip install --quiet --quiet --constraint deploy/constraints.txt \
		mkdocs==1.6.1 mkdocs-material==9.8.2 mkdocstrings==1.0.8 mkdocstrings-python==2.0.11 ruff codespell==2.4.3 pymarkdownlnt==0.9.41 \
		--editable '.[cpu,text,http]' --config-settings editable_mode=strict
	@touch $@

# The model card is the exporter's.
PAGES := README.md CONTRIBUTING.md SECURITY.md docs deploy/README.md benchmarks/NOTES.md

docs: .venv-docs/.made
	@.venv-docs/bin/codespell $(PAGES) CHANGELOG.md runtime export service proto/automask examples
	@.venv-docs/bin/pymarkdown scan --recurse $(PAGES)
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet
	@echo build/docs/index.html

demo: $(VENV)/.demo
	@$(BIN)/python examples/side_by_side.py examples/astronaut.jpg "the astronaut" demo/astronaut.png

# Two processes; tests/support/distribution.py divides the tests between them.
test: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses 2 $(PYTEST_FLAGS)

# An environment of its own: the transformers that has SAM 3 does not go together with optimum. torchvision only for the
# comparison, without what it depends on, because it must not replace torch.
.venv-sam3/.made: Makefile pyproject.toml $(SOURCE_FOLDERS)
	@echo 'Installing automask with what exports SAM 3 into .venv-sam3 ...'
	@$(PYTHON) -m venv .venv-sam3
	@.venv-sam3/bin/python -m pip install --quiet --quiet --editable '.[cpu,export-sam3]' 'pytest>=8' 'pytest-timeout>=2.3' 'scikit-image>=0.25' --config-settings editable_mode=strict
	@.venv-sam3/bin/python -m pip install --quiet --quiet --no-deps torchvision==0.28.0
	@touch $@

# Without the other tests' conftest.py, which needs all of `dev`.
test-sam3: .venv-sam3/.made
	PYTHONPATH=tests OMP_NUM_THREADS=1 .venv-sam3/bin/python -m pytest --noconftest -p support.skips tests/export/check_sam3.py $(PYTEST_FLAGS)

fuzz: $(VENV)/.dev
	AUTOMASK_FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest --timeout 0 tests/runtime/test_fuzz_images.py tests/runtime/test_hostile_images.py tests/runtime/fuzz_large_images.py tests/service/test_store_damage.py tests/service/test_fuzz_calls.py

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --package automask
	$(BIN)/mypy tests benchmarks examples deploy docs/hooks

# rembg and pymatting are only measured beside, and bring much: not in the extra `dev`.
$(VENV)/.bench: $(VENV)/.dev
	@$(INSTALL) rembg==2.0.86 pymatting==1.1.16
	@touch $@

bench: $(VENV)/.bench
	$(BIN)/python benchmarks/run.py $(QUESTIONS) $(if $(DATA),--data '$(DATA)')
	$(BIN)/python benchmarks/report.py

quality: $(VENV)/.dev
	@test -n '$(DATA)' || { echo 'make quality DATA=DIR, a folder with images/, masks/ and pairs.json'; exit 2; }
	$(BIN)/python benchmarks/quality.py --data '$(DATA)'

clean:
	rm -rf $(VENV) .venv-proto .venv-sam3 .venv-supply .venv-sbom .venv-docs build dist demo *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
