# Everything happens in .venv; `make setup` is the first step of every other target.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# uv is much faster than pip; pip is used if uv fails. Bytecode is compiled when a module is first imported.
UV := uv==0.13.9

# The image library is not in requirements.lock: pillow-simd and Pillow are two builds of the same PIL package.
# It is built with AVX2 if this machine has it (it resizes a third faster, with the same bytes), so this .venv may not run on
# an older machine. pip's cache is not used: it could return a build from before the headers were installed.
PILLOW_SIMD := pillow-simd==12.1.1.post0
PILLOW := pillow==13.0.0
ATHERIS := atheris==3.0.0
PIP_AUDIT := pip-audit==2.10.1
SECONDS ?= 120

# Each test process gets one thread of OpenMP: two torch processes that each use all cores would slow each other down.
TEST_PROCESSES ?= logical

# pillow-simd built without WebP, TIFF and JPEG 2000, as on a machine without their headers
BARE := build/bare

.PHONY: help setup demo test test-fast coverage test-bare fuzz faults audit lint types docs bench lock clean

help:
	@echo "make setup   create .venv with everything at the versions of requirements.lock"
	@echo "make demo    run all stages on a drawn data set; the result is in chipper-demo/"
	@echo "make test    run the tests"
	@echo "make test-fast  run those that take no longer than an inner loop may"
	@echo "make coverage  what the tests reach of the kernels and the rules, with the jit off"
	@echo "make test-bare  collect all tests, and run the image tests, without WebP, TIFF and JPEG 2000 in the image library"
	@echo "make fuzz    fuzz the readers, SECONDS=120 each"
	@echo "make audit   check the packages of requirements.lock for known vulnerabilities; needs network access"
	@echo "make lint    ruff, mypy and codespell"
	@echo "make docs    build the documentation into build/site, offline"
	@echo "make bench   run the benchmarks of docs/benchmarks.md"
	@echo "make lock    resolve requirements.lock again from pyproject.toml"

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "chipper needs Python 3.11 or newer; try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "[setup 1/4] creating $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { echo "cannot create a virtual environment; on Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "[setup 2/4] installing the packages of requirements.lock (torch with its GPU libraries is most of it: about 5 GB, minutes)"
	@{ $(PIP) install $(UV) && $(BIN)/python .ci/uv.py --quiet pip install --compile-bytecode --no-deps -r requirements.lock; } 2>$(VENV)/uv.log || { \
	  echo "uv could not install them ($(VENV)/uv.log): using pip, which is slower"; \
	  $(PIP) install --no-deps -r requirements.lock; }
	@echo "[setup 3/4] building pillow-simd, the fast image library (about a minute)"
	@$(PIP) uninstall --yes pillow pillow-simd 2>/dev/null; \
	grep -qw avx2 /proc/cpuinfo 2>/dev/null && export CC="$${CC:-cc} -mavx2"; \
	$(PIP) install --no-deps --no-cache-dir $(PILLOW_SIMD) 2>$(VENV)/pillow-simd.log || { \
	  echo "pillow-simd could not be built ($(VENV)/pillow-simd.log): using Pillow, which is slower. To build it: apt-get install gcc python3-dev libjpeg-dev zlib1g-dev libwebp-dev libtiff-dev, then make clean setup"; \
	  $(PIP) install --no-deps $(PILLOW); }
	@$(BIN)/python -c 'from PIL import features; lost = [f for f in ("webp", "libtiff") if not features.check(f)]; \
	  lost and print("the image library has no", ", ".join(lost), "here; rasterio reads such files; to add it: apt-get install libwebp-dev libtiff-dev, then make clean setup")'
	@echo "[setup 4/4] installing chipper itself"
	@$(PIP) uninstall --yes chipper 2>/dev/null || true # the name of the package before 0.2.0
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup
	$(BIN)/chipper demo

PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --maxprocesses 8 --dist loadfile --no-loadscope-reorder

test: setup
	$(PYTEST)

# the inner loop: what needs no training, no processes, no servers and no pages
test-fast: setup
	$(PYTEST) -m "not (training or commands or faults or servers or pages)"

# what the tests reach of the kernels and the rules, which are Python for that
coverage: setup
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m coverage run --branch --source chipper.kernels,chipper.mining -m pytest -q -W "ignore:overflow encountered:RuntimeWarning" tests/kernels tests/mining
	$(BIN)/python -m coverage report --show-missing --skip-covered

test-bare: setup $(BARE)/.ready
	@if test -d $(BARE)/PIL; then export PYTHONPATH=$(CURDIR)/$(BARE); set -x; \
	  $(BIN)/python -c 'from PIL import features; assert not features.check("webp") and not features.check("libtiff")' && \
	  $(PYTEST) -k "test_formats or test_decoded or test_windowed or test_stretch or test_doctor or test_fuzz or image: or windows:"; \
	else echo "test-bare skipped: pillow-simd cannot be built here ($(BARE)/log), and Pillow comes with all formats"; fi

$(BARE)/.ready: | setup
	@mkdir -p $(BARE)
	@$(PIP) install --no-deps --no-cache-dir --target $(BARE) $(PILLOW_SIMD) \
	  --config-settings webp=disable --config-settings tiff=disable --config-settings jpeg2000=disable 2>$(BARE)/log || true
	@touch $@

# coverage-guided fuzzing, see tests/fuzz
fuzz: setup
	@$(PIP) install --no-deps $(ATHERIS)
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

# plant small faults one by one, and see whether a test fails; a few minutes
faults: setup
	$(BIN)/python -m tests.faults

# in a separate environment, so that the packages of pip-audit do not interfere
audit:
	$(PYTHON) -m venv build/audit && build/audit/bin/python -m pip --quiet install $(PIP_AUDIT)
	build/audit/bin/pip-audit --requirement requirements.lock --no-deps --disable-pip

lint: setup types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

# mypy does not follow the package-dir mapping of pyproject.toml, so it gets the tree in the installed layout
types: setup
	@rm -rf build/types && mkdir -p build/types/chipper
	@ln -s $(CURDIR)/chipper/* $(CURDIR)/cli $(CURDIR)/schemas build/types/chipper/
	cd build/types && ../../$(BIN)/mypy --config-file ../../pyproject.toml -p chipper

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

bench: setup
	$(BIN)/python -m benchmarks

lock: setup
	$(BIN)/python .ci/uv.py --quiet pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-package pillow --output-file requirements.lock

clean:
	rm -rf $(VENV) build dist *.egg-info
