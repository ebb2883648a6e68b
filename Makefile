# Each target is one command that does all its own set-up: .venv is made from the lock files and made again, in place,
# when they change. Needs Python 3.11 or newer and make. With npm the tests run the SDKs for Node too, with swtpm and
# tpm2-tools they speak with a TPM; without, they say that they skip them.

PYTHON := $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
LOCKS := requirements/dev.txt pyproject.toml
STAMP := $(VENV)/.installed-$(shell cat $(LOCKS) | cksum | cut -d' ' -f1)
NODE_TESTS := tests/e2e/node
NODE_STAMP := $(if $(shell command -v npm),$(NODE_TESTS)/node_modules/.package-lock.json)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Where Python may keep no bytecode every hub that a test starts compiles itself: a second each, and there are hundreds.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo up test guides browser shown-by-az screenshots conformance coverage mutants chaos cuts fuzz check format reference compatibility flood bench bench-quick bench-fleet bench-pages bench-query

help:
	@echo 'make demo         the whole story, from a root certificate to telemetry, with an unmodified SDK; ends by itself'
	@echo 'make up           the hub, in the foreground (moorage up; settings from MOORAGE_... variables)'
	@echo 'make test         every test but those of the next two'
	@echo 'make guides       every guide under docs/how-to, line by line, as its reader would; two minutes'
	@echo 'make browser      the application in Chromium, beside unmodified SDKs, in both themes; some minutes'
	@echo 'make shown-by-az  what pages show as code for az, pasted (AZ=/path/to/az, with its extension azure-iot); minutes'
	@echo 'make screenshots  the pictures under docs/images, made again'
	@echo 'make conformance  the validator against x509-limbo (LIMBO_JSON=FILE) and NIST PKITS; writes docs/conformance.md'
	@echo 'make coverage     fails where a branch of the validator or the authoriser is reached by no test; a minute'
	@echo 'make mutants      changes the validator and the authoriser in thousands of ways; those that no test notices go into'
	@echo '                  docs/mutants.md; an hour and more (MUTANTS="moorage.pki.policy" for some of them)'
	@echo 'make chaos        fifty times kill -9 under load: nothing that was acknowledged may be lost; some minutes'
	@echo 'make cuts         every way of cutting a session, with 1,000 others connected; half a minute'
	@echo 'make fuzz         every parser with bytes that nobody wrote (FUZZ_SECONDS=30 each), then 2,000 generated requests'
	@echo '                  to every operation of the REST interfaces; half an hour'
	@echo 'make check        format, lint, types, the import contract'
	@echo 'make format       put the code into its format'
	@echo 'make reference    write docs/reference again from the code'
	@echo 'make compatibility  what tests claim about clients, run and written into docs/compatibility.md; Node, swtpm, port 443'
	@echo 'make install      .venv with .venv/bin/moorage; the others do this themselves'
	@echo 'make bench-quick  server CPU and memory beside Mosquitto, under three minutes'
	@echo 'make flood        bad certificates at twice the rate that the machine can judge: good devices get in; a minute'
	@echo 'make bench-query  what queries take with 100,000 devices; about a minute'
	@echo 'make bench-fleet  100,000 devices imported, and what others notice of it; about a minute'
	@echo 'make bench-pages  pages with 100,000 devices and 10 million messages, while 5,000 a second come; half an hour'
	@echo 'make bench        the same questions at scale: a long log, a million devices; about ten minutes'

$(STAMP): $(LOCKS)
	@echo 'setting up $(VENV), a minute or two' >&2
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.installed-*
	@touch $@

ifneq ($(NODE_STAMP),)
$(NODE_STAMP): $(NODE_TESTS)/package-lock.json $(NODE_TESTS)/package.json
	npm ci --prefix $(NODE_TESTS) --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@
endif

install: $(STAMP)

demo: $(STAMP)
	@$(BIN)/python scripts/demo.py

up: $(STAMP)
	@$(BIN)/moorage up

test: $(STAMP) $(NODE_STAMP)
	@$(BIN)/python -m pytest -n auto --maxprocesses=8 --dist loadfile

guides: $(STAMP) $(NODE_STAMP)
	@$(BIN)/python -m pytest -m guide tests/docs

browser: $(STAMP) $(NODE_STAMP)
	@$(BIN)/python -m pytest -m browser tests/browser

AZ ?= $(shell command -v az)

shown-by-az: $(STAMP)
	@test -n "$(AZ)" || { echo 'there is no az here; say where it is: make shown-by-az AZ=/path/to/az' >&2; exit 1; }
	@MOORAGE_AZ="$(AZ)" $(BIN)/python -m pytest tests/web/test_code_*.py

screenshots: $(STAMP) $(NODE_STAMP)
	@$(BIN)/python -m tests.browser.screenshots

# A compiled file of x509-limbo, which is not kept here; one that is not there fails.
LIMBO_JSON ?= ../shared/conformance/limbo-core.json

conformance: $(STAMP)
	@$(BIN)/python -m tests.conformance "$(LIMBO_JSON)"

coverage: $(STAMP)
	@$(BIN)/python -m tests.wall.branches

MUTANTS ?=

mutants: $(STAMP)
	@$(BIN)/python -m tests.wall.mutants $(MUTANTS)

chaos: $(STAMP)
	@$(BIN)/python -m tests.chaos

cuts: $(STAMP)
	CUT_SESSIONS=1000 $(BIN)/pytest tests/servers/test_cutting.py

FUZZ_SECONDS ?= 30
FUZZ_STAMP := $(VENV)/.fuzz-$(shell cksum < requirements/fuzz.txt | cut -d' ' -f1)

# A wheel or nothing: a machine without one makes its inputs in another way (docs/adr/0011-fuzzing.md).
$(FUZZ_STAMP): $(STAMP)
	@$(BIN)/python -m pip install --quiet --require-hashes --only-binary :all: -r requirements/fuzz.txt \
		|| echo 'there is no atheris for this machine; inputs are made without it'
	@touch $@

fuzz: $(FUZZ_STAMP)
	@$(BIN)/python -m tests.fuzz.parsers --seconds $(FUZZ_SECONDS)
	@$(BIN)/python -m tests.fuzz

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python scripts/reference.py --check
	$(BIN)/python scripts/compatibility.py --check

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

reference: $(STAMP)
	$(BIN)/python scripts/reference.py

compatibility: $(STAMP) $(NODE_STAMP)
	$(BIN)/python scripts/compatibility.py

bench-quick: $(STAMP) build/bench/load
	@$(BIN)/python -m bench.quick

bench: $(STAMP) build/bench/load
	@$(BIN)/python -m bench.scale

flood: $(STAMP) build/bench/load
	@$(BIN)/python -m bench.flood

bench-fleet: $(STAMP)
	@$(BIN)/python -m bench.fleet

bench-pages: $(STAMP) build/bench/load
	@$(BIN)/python -m bench.pages

bench-query: $(STAMP)
	@$(BIN)/python -m bench.query

build/bench/load: bench/load.c bench/prepare
	@bench/prepare
	@mkdir -p build/bench
	cc -O2 -Wall -Wextra -Werror -o $@ $< -lssl -lcrypto
