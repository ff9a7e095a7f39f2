# Every target builds .venv by itself and installs no more than it needs; a second call installs nothing.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

# Without bytecode on disk every start would compile JAX and its like again: ten seconds each time.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
BIN := .venv/bin
STAMPS := .venv/stamps
UV := $(shell command -v uv)

# The pip that comes with older Pythons knows no dependency groups. Bytecode is left to the first import:
# compiling every installed file costs more than all the downloads.
PIP_VERSION := 26.0
ifeq ($(UV),)
INSTALL := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check \
	--constraint constraints.txt --build-constraint constraints.txt
else
INSTALL := $(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --build-constraint constraints.txt
endif

.PHONY: demo test figures check lint docs verify bench clean

$(STAMPS)/venv:
	@echo "creating .venv"
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("gfsim needs Python 3.11 or newer, was " + sys.version.split()[0])'
	@$(PYTHON) -m venv --clear .venv
	@[ -n "$(UV)" ] || $(BIN)/python -m pip install --quiet --disable-pip-version-check pip==$(PIP_VERSION)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/run: $(STAMPS)/venv pyproject.toml constraints.txt
	@echo "installing gfsim"
	@$(INSTALL) --editable .
	@touch $@

$(STAMPS)/test $(STAMPS)/lint $(STAMPS)/docs: $(STAMPS)/%: $(STAMPS)/run
	@echo "installing the group $*"
	@$(INSTALL) --group $*
	@touch $@

demo: $(STAMPS)/run
	@$(BIN)/gfsim run early-convergence --no-deep

# The suite but for whole scenarios, documentation and clusters, which `make check` adds.
test: $(STAMPS)/test
	@$(BIN)/python -m pytest -n 2 -m "not slow and not verify"

figures: $(STAMPS)/run
	@failed=0; for file in $(wildcard scenarios/*.py); do $(BIN)/gfsim run $$file || failed=1; done; \
	$(BIN)/python docs/write_gallery.py && exit $$failed

lint: $(STAMPS)/test $(STAMPS)/lint
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports --no-logo

docs: $(STAMPS)/docs
	@$(BIN)/mkdocs build --strict --quiet
	@echo "documentation: site/index.html"

# Lint, documentation and scenarios two at a time; each prints what it has to say when it is done.
check: $(STAMPS)/test $(STAMPS)/lint $(STAMPS)/docs
	@printf '%s\n' lint docs scenarios/*.py | xargs -P 2 -I{} sh -c 'log=$(STAMPS)/$$(basename {}).log; \
		case {} in *.py) $(BIN)/gfsim run {} --reduced;; *) $(MAKE) --no-print-directory {};; esac > $$log 2>&1; \
		code=$$?; cat $$log; exit $$code'
	@$(MAKE) --no-print-directory test
	@$(BIN)/python -m pytest -n 2 -m "slow and not verify"

verify: $(STAMPS)/test
	@$(BIN)/python docs/write_verification.py

bench: $(STAMPS)/test
	@$(BIN)/python -m benchmarks.work_precision
	@$(BIN)/python -m benchmarks.central_flow
	@$(BIN)/python -m benchmarks.portraits
	@$(BIN)/python -m benchmarks.ensemble
	@$(BIN)/python -m benchmarks.large

clean:
	rm -rf .venv records figures-out figures/out site
