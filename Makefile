# Everything a developer does here, from a fresh clone: `make run-dev` runs it, `make check` tests it.
# All tools live in .venv; the first target that needs it makes it. Needs Python >= 3.11 and make.

PYTHON ?=
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
APP    := $(BIN)/payment-manager
SERVER_TESTS := integration or e2e
SLOW_TESTS   := $(SERVER_TESTS) or benchmark or chaos
COMPILE := $(BIN)/uv pip compile pyproject.toml --extra archive --extra search --quiet --universal --python-version 3.11 \
           --generate-hashes --no-emit-index-url --no-header

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

##@ Run
.PHONY: run-dev run-search run-kafka run-api run-ingest run-worker run-projector start_containers stop_containers build-pg-image \
        import-dashboards demo
run-dev: $(READY) ## Run all on this machine: API, embedded PostgreSQL, simulated provider
	@exec $(APP) dev
run-search: $(READY) ## Run all that run-dev does with a real OpenSearch beside it (JDK 21, Maven)
	@exec $(BIN)/python -m infra.launcher search
run-kafka: $(READY) ## Run both services, Kafka and all, by Docker where it is (local=1: without); search=1
	@exec $(BIN)/python -m infra.launcher $(if $(local),--local) $(if $(search),--search)
run-api: $(READY) ## Run the API service alone, as the settings say
	@exec $(APP) api
run-ingest: $(READY) ## Run the Ingest service alone: webhooks into Kafka
	@exec $(APP) ingest
run-worker: $(READY) ## Run one more worker: webhooks out of Kafka, into the database
	@exec $(APP) worker
run-projector: $(READY) ## Run search's projector alone, beside APIs with SEARCH_PROJECTION=off
	@exec $(APP) project
start_containers: $(READY) ## Start what the services need, in the background, and tell its addresses
	@$(BIN)/python -m infra.launcher start $(if $(local),--local) $(if $(search),--search)
stop_containers: $(READY) ## Stop it; the data stays
	@$(BIN)/python -m infra.launcher stop
build-pg-image: ## Build the image of PostgreSQL 17 with pg_partman (Docker)
	@command -v docker >/dev/null || { echo "No Docker here; tests and labs fetch PostgreSQL 17 without it" >&2; exit 2; }
	docker build --tag payment-manager-postgres:17.10 infra/postgres
import-dashboards: $(READY) ## Put the ready dashboard into OpenSearch Dashboards (url=http://…)
	@$(BIN)/python -m infra.dashboards $(url)
demo: $(READY) ## Tell the life of one order and one dispute to the running service
	@$(APP) demo

##@ Check
.PHONY: check test integration-test lint format benchmark
check: lint test integration-test ## All that must pass before a change goes in (what CI runs)
test: $(READY) ## Fast tests: no server needed
	$(BIN)/pytest -q -m "not ($(SLOW_TESTS))"
integration-test: $(READY) ## Tests on real servers, and of the whole service
	$(BIN)/pytest -q -m "$(SERVER_TESTS)" -n 2 --dist loadfile
lint: $(READY) ## Style, types, and the rules between packages
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python scripts/generate_docs.py --check
format: $(READY) ## Rewrite the code in the project's style
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format
benchmark: $(READY) ## Measure the services; writes docs/benchmarks.md (only=load: that section)
	$(BIN)/python -m tests.benchmarks $(addprefix --only ,$(only))

##@ Data
.PHONY: migrate seed-db clean-db print-db-size verify
migrate: $(READY) ## Write the next migration: make migrate name=add_something
	@[ -n "$(name)" ] || { echo "say what it does: make migrate name=add_something" >&2; exit 2; }
	$(APP) migrate --name "$(name)"
seed-db: $(READY) ## Fill the database with a believable history
	$(APP) seed-db
clean-db: $(READY) ## Empty the database
	$(APP) clean-db
print-db-size: $(READY) ## Rows and bytes of each table; days=1: also of each day of the logs
	$(APP) print-db-size $(if $(days),--days)
verify: $(READY) ## Prove that every row equals the fold of its events
	$(APP) verify

##@ Labs
.PHONY: lab-batching lab-unknown-outcome lab-duplicates lab-parking lab-paging \
        lab-poison-message lab-reorder lab-broker-away lab-rebalance lab-partitioning \
        lab-index-choice lab-retention lab-search-away lab-search-rebuild
lab-batching: $(READY) ## One transaction a webhook, or one for all that are in flight
	@$(BIN)/python -m labs.batching
lab-unknown-outcome: $(READY) ## The provider takes the money and its answer gets lost
	@$(BIN)/python -m labs.unknown_outcome
lab-duplicates: $(READY) ## Fifty copies of a webhook at once, with and without a crash
	@$(BIN)/python -m labs.duplicates
lab-parking: $(READY) ## A chargeback and its order's first webhook at once
	@$(BIN)/python -m labs.parking
lab-paging: $(READY) ## What page one thousand costs, by counting and by a cursor
	@$(BIN)/python -m labs.paging
lab-poison-message: $(READY) ## A message that can never be applied, and those around it
	@$(BIN)/python -m labs.poison_message
lab-reorder: $(READY) ## A history that comes twice and shuffled, and what a key keeps
	@$(BIN)/python -m labs.reorder
lab-broker-away: $(READY) ## The broker is away: who is told what, and what is lost
	@$(BIN)/python -m labs.broker_away
lab-rebalance: $(READY) ## Consumers join, leave and die while messages flow
	@$(BIN)/python -m labs.rebalance
lab-partitioning: $(READY) ## Five million events in four layouts, one question (scale=0.1: a tenth)
	@$(BIN)/python -m labs.partitioning $(addprefix --scale ,$(scale)) $(if $(reference),--reference)
lab-index-choice: $(READY) ## Which index finds a kind's rows, and what each row pays for it
	@$(BIN)/python -m labs.index_choice
lab-retention: $(READY) ## What getting rid of old events costs, and whether they still answer
	@$(BIN)/python -m labs.retention
lab-search-away: $(READY) ## Search hangs, dies and comes back: who notices, and what it has lost
	@$(BIN)/python -m labs.search_away
lab-search-rebuild: $(READY) ## Search is deleted, damaged, and made anew from the log
	@$(BIN)/python -m labs.search_rebuild

##@ Set-up
.PHONY: install lock help
install: $(READY) ## Make .venv with everything that is locked in requirements/
lock: $(READY) ## Resolve the dependencies of pyproject.toml again; upgrade=1 takes newer versions
	$(COMPILE) $(if $(upgrade),--upgrade) --output-file requirements/runtime.txt
	$(COMPILE) $(if $(upgrade),--upgrade) --group dev --output-file requirements/dev.txt
help: ## This list
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	      /^[a-z_-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# pip brings uv by the hash in the lock; uv brings the rest. The package itself is installed last and
# editable, by the build backend that is locked too: nothing comes in unlocked.
$(READY): requirements/dev.txt pyproject.toml | $(BIN)/python
	@echo "Installing what requirements/dev.txt locks into $(VENV)"
	@awk '/^[^ #]/ { wanted = /^uv==/ } wanted' requirements/dev.txt > $(VENV)/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	    --requirement $(VENV)/uv.txt
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(BIN)/python:
	@for python in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11); do \
	    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	    if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	        echo "$$python has no venv module, passing over it (on Debian: apt install python3-venv)" >&2; \
	        continue; \
	    fi; \
	    echo "Making $(VENV) with $$("$$python" --version)"; \
	    "$$python" -m venv $(VENV) && exit 0; \
	done; \
	echo "No usable Python >= 3.11 found; name one: make install PYTHON=/path/to/python3" >&2; exit 1
