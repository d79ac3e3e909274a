# Everything runs in an environment of its own, made on first use: nothing but Python and make is needed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SERVER_STAMP := $(VENV)/.installed-server
RAY_STAMP := $(VENV)/.installed-ray
SERVER := langgraph-cli[inmem]>=0.4.40,<0.5
MCP := .mcp_lines
MCP_PATH := $(CURDIR)/$(MCP)/servers/bin:$(CURDIR)/$(MCP)/npm/node_modules/.bin
MCP_PIP := pip install --quiet --disable-pip-version-check --no-compile
MCP_PYTEST := 'pytest>=8.4,<10' 'pytest-asyncio>=1.4,<2' 'pytest-timeout>=2.4,<3' 'pytest-xdist>=3.6,<4' \
	'hypothesis>=6.150,<7'
MCP_TESTS := $(wildcard tests/catalog/test_mcp*.py)
TESTS ?= tests
ATTACKS := tests/escapes
SOAK := tests/benchmarks/test_soak.py
SITE := tests/docs/test_site.py
CLUSTER := tests/cluster
PYTEST := python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile
LOWEST := $(VENV)-lowest
DEMO := $(VENV)-demo
PIP := pip install --disable-pip-version-check --no-compile
MODEL ?=
PORT ?= 8000
# Bytecode is kept, whatever the environment says: a process without it takes three times as long to import LangChain.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help install demo web test cluster test_cluster attacks soak site test_lowest test_watch e2e lint format type check docs benchmark benchmark_compare clean trials remote fuzz test_mcp_line1 test_mcp_line2

help:  ## Show the targets
	@grep -hE '^[a-z0-9_]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-12s %s\n", $$1, $$2}'

# Without bytecode of all modules: it is written for those that are used, when they are.
$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m $(PIP) --upgrade 'pip>=25.1'
	$(BIN)/python -m $(PIP) --editable '.[notebook]' --group test --group lint --group docs
	@touch $(STAMP)

install: $(STAMP)  ## Make the environment

# The demo has an environment of its own: a fifth of what the tests need.
$(DEMO)/.installed: pyproject.toml
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python -m $(PIP) --upgrade 'pip>=25.1'
	$(DEMO)/bin/python -m $(PIP) --editable . --group demo
	@touch $@

$(DEMO)/.installed-local: $(DEMO)/.installed
	$(DEMO)/bin/python -m $(PIP) xllamacpp
	@touch $@

demo: $(DEMO)/.installed $(if $(filter local,$(MODEL)),$(DEMO)/.installed-local)  ## Run the main job on real data, twice, and show what it cost (MODEL=… for a real model)
	@MODEL='$(MODEL)' $(DEMO)/bin/python -m examples.company

$(DEMO)/.installed-web: $(DEMO)/.installed
	$(DEMO)/bin/python -m $(PIP) --editable . --group web
	@touch $@

web: $(DEMO)/.installed-web  ## Serve an agent that runs code, with its page, on http://127.0.0.1:8000 (PORT=… for another; MODEL=… for a real model)
	@MODEL='$(MODEL)' $(DEMO)/bin/python -m examples.web --port $(PORT)

# What takes long and has a machine to itself has a target of its own.
test: $(STAMP)  ## Run the tests but those of the targets below (TESTS=tests/run for some)
	$(BIN)/$(PYTEST) $(addprefix --ignore=,$(ATTACKS) $(SOAK) $(SITE) $(CLUSTER)) $(TESTS)

attacks: $(STAMP)  ## Attack workers and the host, by each wall alone
	$(BIN)/$(PYTEST) $(ATTACKS)

soak: $(STAMP)  ## Run random programs and kill workers, and look for what is left over
	$(BIN)/python -m pytest $(SOAK)

site: $(STAMP)  ## Build the site and follow its links
	$(BIN)/python -m pytest $(SITE)

test_watch: $(STAMP)  ## Run the tests that failed last, first
	$(BIN)/python -m pytest --failed-first --exitfirst $(TESTS)

$(SERVER_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check '$(SERVER)'
	@touch $(SERVER_STAMP)

e2e: $(SERVER_STAMP)  ## Run the tests on a real local LangGraph server (installs it first)
	$(BIN)/python -m pytest tests/server

# Packages for MCP exclude each other: langchain-mcp-adapters needs line 1 of mcp, langchain[mcp] line 2.
# Servers of others are programs of their own, in environments of their own.
$(MCP)/line1/.installed: pyproject.toml
	$(PYTHON) -m venv $(MCP)/line1
	$(MCP)/line1/bin/python -m $(MCP_PIP) --editable '.[mcp]' 'langchain-mcp-adapters>=0.3.2,<0.4' 'langchain>=1.4.7,<2' $(MCP_PYTEST)
	@touch $@

$(MCP)/line2/.installed: pyproject.toml
	$(PYTHON) -m venv $(MCP)/line2
	$(MCP)/line2/bin/python -m $(MCP_PIP) --editable '.[mcp]' 'langchain[mcp]>=1.5,<2' $(MCP_PYTEST)
	@touch $@

$(MCP)/servers/.installed: Makefile
	$(PYTHON) -m venv $(MCP)/servers
	$(MCP)/servers/bin/python -m $(MCP_PIP) 'mcp-server-fetch>=2026.10,<2027'
	@if ! command -v npm >/dev/null; then echo 'no npm: the tests of its servers are skipped'; \
		else npm install --prefix $(MCP)/npm --no-audit --no-fund --loglevel=error \
		@modelcontextprotocol/server-memory@2026 @modelcontextprotocol/server-everything@2026 \
		|| echo 'npm failed: the tests of its servers are skipped'; fi
	@touch $@

test_mcp_line1: $(MCP)/line1/.installed $(MCP)/servers/.installed  ## Run the MCP tests with mcp 1 and the adapters
	MCP_SERVERS_PATH='$(MCP_PATH)' $(MCP)/line1/bin/python -m pytest --numprocesses 2 --dist loadfile $(MCP_TESTS)

test_mcp_line2: $(MCP)/line2/.installed $(MCP)/servers/.installed $(STAMP)  ## Run the MCP tests with mcp 2 and langchain.mcp
	MCP_SERVERS_PATH='$(MCP_PATH)' MCP_SERVER_PYTHON='$(abspath $(BIN))/python' \
		$(MCP)/line2/bin/python -m pytest --numprocesses 2 --dist loadfile $(MCP_TESTS)

# Transitive dependencies are the newest: what counts is what pyproject.toml names.
$(LOWEST)/.installed: pyproject.toml
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct \
		--editable '.[notebook]' --group test --group lint --group docs
	@touch $@

test_lowest: $(LOWEST)/.installed  ## Run the tests on the oldest versions that pyproject.toml admits
	$(LOWEST)/bin/$(PYTEST) $(TESTS)

$(RAY_STAMP): $(SERVER_STAMP)
	$(BIN)/python -m $(PIP) --quiet --editable '.[ray]'
	@touch $(RAY_STAMP)

cluster: $(RAY_STAMP)  ## Run 100 executions on a local Ray cluster of three nodes, and kill one (installs Ray first)
	$(BIN)/python -m examples.ray_cluster

# One cluster at a time: each node takes a quarter of a gigabyte.
test_cluster: $(RAY_STAMP)  ## Run the tests of RaySandbox, and those of all sandboxes, on local Ray clusters
	$(BIN)/python -m pytest $(CLUSTER)
	PTC_SANDBOXES=ray $(BIN)/python -m pytest tests --ignore=$(CLUSTER)

lint: $(STAMP)  ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)  ## Mend style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

type: $(STAMP)  ## Check types, strictly
	$(BIN)/mypy

check: lint type test attacks soak site  ## What CI runs

docs: $(STAMP)  ## Build the site into docs/_build/html; a warning is an error
	$(BIN)/python -m sphinx -W --keep-going -n -q -j auto docs docs/_build/html
	@echo 'open docs/_build/html/index.html'

benchmark: $(STAMP)  ## Print what users wait for, each figure beside its floor (AGAINST=… for another checkout)
	$(BIN)/python -m benchmarks.speed $(if $(AGAINST),--against $(AGAINST))

benchmark_compare: $(STAMP)  ## Direct against programmatic, us against others; writes docs/benchmark.md
	$(BIN)/python -m benchmarks.compare --peers --write

trials: $(STAMP)  ## Interrupt and resume 1,200 random programs, and begin the calls of 1,000 early
	$(BIN)/python -m tests.trials 1000
	$(BIN)/python -m tests.trials 200 1000 --fresh
	$(BIN)/python -m tests.trials.early 1000

remote: $(STAMP)  ## Kill a server in the middle of a program, and run the tests of sandboxes over servers
	$(BIN)/python -m examples.remote
	PTC_SANDBOXES=remote PTC_REMOTE_EXECUTIONS=1000 $(BIN)/$(PYTEST) tests/sandbox tests/run
	$(BIN)/python -m tests.trials.kills 500

fuzz: $(STAMP)  ## Send the host some 15,000 frames that no honest worker sends
	PTC_FUZZ_CASES=5000 $(BIN)/python -m pytest -q tests/sandbox/wire/test_hostile_frames.py

clean:  ## Remove the environment and caches
	rm -rf $(VENV) $(DEMO) $(LOWEST) $(MCP) .pytest_cache .mypy_cache .ruff_cache dist docs/_build
