# `make help` lists the targets. Needs only Python >= 3.11, make and PyPI.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help up test check gen bench bench-search fuzz lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; set PYTHON=") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

up: $(STAMP) ## Run the whole thing: PostgreSQL, server, Envoy; Ctrl-C stops it
	@$(BIN)/orca up

test: $(STAMP) ## Run all tests against real PostgreSQL, Envoy and grpcurl
	$(BIN)/python -m pytest

fuzz: $(STAMP) ## Send a million wild requests (FUZZ_REQUESTS, FUZZ_SEED)
	FUZZ_REQUESTS="$${FUZZ_REQUESTS:-1000000}" FUZZ_SEED="$${FUZZ_SEED:-$$(date +%s)}" \
	    $(BIN)/python -m pytest -s tests/fuzz/test_fuzz.py

PROTOS     := $(wildcard proto/orca/v1/*.proto)
# Where the googleapis-common-protos wheel keeps google/api and google/rpc.
SITE        = $(shell $(BIN)/python -c 'import google.api, pathlib; print(pathlib.Path(list(google.api.__path__)[0]).parents[1])')
GEN_OUT    ?= clients/python

gen: $(STAMP) ## Write the Python client, the OpenAPI document, docs/api and docs/cli.md
	@$(MAKE) --no-print-directory gen-python
	@$(MAKE) --no-print-directory gen-openapi gen-api-pages gen-cli-page

gen-python: $(STAMP)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m grpc_tools.protoc -Iproto -I$(SITE) \
	    --python_out=$(GEN_OUT) --grpc_python_out=$(GEN_OUT) \
	    --mypy_out=quiet:$(GEN_OUT) --mypy_grpc_out=quiet:$(GEN_OUT) $(PROTOS)

gen-openapi: build/orca.binpb # a contract test holds it to what is committed
	$(BIN)/python -m orca_server.services.openapi $< server/orca_server/pages/openapi.json

gen-api-pages: build/orca.binpb # likewise
	$(BIN)/python -m orca_server.services.api_pages $< docs/api

gen-cli-page: $(STAMP) # likewise
	$(BIN)/python -m typer orca_server.cli utils docs --name orca --output docs/cli.md

build/orca.binpb: $(STAMP) $(PROTOS)
	@mkdir -p build
	$(BIN)/python -m grpc_tools.protoc -Iproto -I$(SITE) --include_imports --include_source_info -o $@ $(PROTOS)

include clients/clients.mk

check: $(STAMP) lint gen-check breaking ## Lint, types, layers, contract, migrations, generated code
	$(BIN)/python -m pytest -q tests/contract

.PHONY: lint gen-check gen-python gen-openapi gen-api-pages gen-cli-page breaking
lint: $(STAMP) build/orca.binpb
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/buf lint build/orca.binpb
	$(BIN)/squawk sql/migrations/*.sql

gen-check: $(STAMP) # generated code equals what is committed
	rm -rf build/gen && mkdir -p build/gen
	@$(MAKE) --no-print-directory gen-python GEN_OUT=build/gen
	diff -r -x __pycache__ -x __init__.py build/gen/orca/v1 clients/python/orca/v1

breaking: build/orca.binpb # the contract against the commit that closed the main job
	sh scripts/breaking.sh "$(BIN)" "$(SITE)"

bench: $(STAMP) ## Measure against ceilings, write bench/latest.json and docs/performance.md (15 minutes; BENCH_QUICK=1: a smoke run)
	$(BIN)/python -m bench

bench-search: $(STAMP) ## How well search finds: DATA=DIR with servers.json and queries.json
	@$(BIN)/python -m bench.search_quality "$(DATA)"

lock: ## Write requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --all-extras --generate-hashes --universal --python-version 3.11 \
	    --no-emit-index-url --no-emit-find-links --no-header --no-annotate -o requirements.lock

clean: ## Remove what the build left; keeps the data folder
	rm -rf build dist clients/typescript/dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
