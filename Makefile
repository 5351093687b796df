# Everything sets itself up in .venv; a fresh machine needs Python 3.11 and network access to the package index.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Nothing phones home, and one BLAS thread: implicit parallelises by itself.
export MLFLOW_DISABLE_TELEMETRY := true
export BENTOML_DO_NOT_TRACK := True
export OPENBLAS_NUM_THREADS := 1

.DEFAULT_GOAL := help
.PHONY: help install demo test check postgres strace lint audit sbom types unit bench bench-features bench-import bench-train bench-batch-scoring bench-recommend-speed bench-known-answers bench-reasons bench-slates bench-evidence bench-access bench-swap bench-overload bench-soak bench-durability bench-faults bench-shadow bench-http bench-cost bench-sizing bench-cdnow bench-shop-churn bench-shop-recommendations bench-churn-tables bench-off-policy bench-published-tables bench-schema lock clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 16

install: $(READY) ## make .venv with the locked packages

# The bytecode is compiled now, whatever PYTHONDONTWRITEBYTECODE says: uncompiled imports are three times slower.
$(READY): requirements/bootstrap.txt requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
	  || { echo "Python 3.11 is needed; write make PYTHON=/path/to/python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode \
	  --require-hashes -r requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: $(READY) ## a whole shop: simulate, train, release, serve, ask; Ctrl-C ends it (with CI set it ends by itself)
	$(BIN)/holdfast demo $(if $(CI),--exit,)

test: check postgres strace ## everything: check, then the slow, service, packaging and real-data tests
	$(BIN)/python -m pytest -m "slow or service or packaging or realdata"

check: lint audit types unit ## lint, known vulnerabilities, types and unit tests, within 5 minutes

# Where it cannot be had, the tests that need it are skipped; with CI set they fail.
postgres: ## the server of PostgreSQL, for the tests of the store; as root from Debian's packages if it is missing
	@ls /usr/lib/postgresql/*/bin/initdb > /dev/null 2>&1 || command -v initdb > /dev/null || { test "$$(id -u)" = 0 \
	  && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql; } \
	  || echo "PostgreSQL's server is missing and could not be installed here; as root: apt-get install postgresql"

# Where it cannot be had, or may not look at processes, bench-durability says that the sync was not shown, and fails.
strace: ## what shows the system calls of a service, for bench-durability; as root from Debian's packages if it is missing
	@command -v strace > /dev/null || { test "$$(id -u)" = 0 \
	  && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends strace; } \
	  || echo "strace is missing and could not be installed here; as root: apt-get install strace"

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml features serving training

audit: $(READY) ## known vulnerabilities of the locked packages; says loudly where nobody can be asked (REQUIRED=1: fails)
	@$(BIN)/python requirements/audit.py $(if $(REQUIRED),--required) requirements/serving.txt requirements/dev.txt

sbom: $(READY) ## dist/sbom.cdx.json: what a running service consists of, in CycloneDX's JSON
	mkdir -p dist
	$(BIN)/cyclonedx-py requirements --output-reproducible --pyproject pyproject.toml --of JSON \
	  --output-file dist/sbom.cdx.json requirements/serving.txt

types: $(READY)
	$(BIN)/mypy

unit: $(READY)
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m "not (slow or service or packaging or realdata)"

BENCHES := bench-features bench-import bench-train bench-batch-scoring bench-recommend-speed bench-http bench-cost bench-known-answers bench-reasons bench-slates bench-evidence bench-access bench-swap bench-overload bench-durability bench-faults bench-shadow bench-sizing bench-schema

bench: $(READY) ## every benchmark that needs no files of a real shop, to the end; fails where any limit is missed
	@missed=; for one in $(BENCHES); do $(MAKE) --no-print-directory $$one || missed="$$missed $$one"; done; \
	  test -z "$$missed" || { echo "failed:$$missed"; exit 1; }

bench-features: $(READY)
	$(BIN)/python -m benchmarks.bench_features

bench-import: $(READY)
	$(BIN)/python -m benchmarks.bench_import

bench-train: $(READY)
	$(BIN)/python -m benchmarks.bench_train_churn
	$(BIN)/python -m benchmarks.bench_train_million

bench-recommend-speed: $(READY) ## cost of recommendations beside implicit; ONLY=fit, request, million or batch for one
	$(BIN)/python -m benchmarks.bench_recommend_speed $(if $(ONLY),--only $(ONLY))

bench-batch-scoring: $(READY)
	$(BIN)/python -m benchmarks.bench_batch_scoring

bench-known-answers: $(READY)
	$(BIN)/python -m benchmarks.bench_known_answers

bench-reasons: $(READY)
	$(BIN)/python -m benchmarks.bench_reasons

bench-slates: $(READY)
	$(BIN)/python -m benchmarks.bench_slate_rules

bench-evidence: $(READY) ## false alarms of rollouts looked at all the time, harms stopped, hashing
	$(BIN)/python -m benchmarks.bench_evidence

bench-overload: $(READY) ## four times what a worker carries for SECONDS (60), 20 stops under load, 20 workers killed
	$(BIN)/python -m benchmarks.bench_overload $(if $(SECONDS),--seconds $(SECONDS))

bench-durability: $(READY) strace ## 50 times kill -9 while events stream in, synced before acknowledged, 300 torn logs
	$(BIN)/python -m benchmarks.bench_durability

bench-soak: $(READY) ## half load for MINUTES (30) or HOURS: memory, open files, sockets; Ctrl-C ends it with a table
	$(BIN)/python -m benchmarks.bench_soak --picture docs/images/soak.png $(if $(HOURS),--hours $(HOURS),$(if $(MINUTES),--minutes $(MINUTES)))

bench-faults: $(READY) ## a full disk, a locked database, a wrong clock, MLflow gone, for SECONDS (10) each
	$(BIN)/python -m benchmarks.bench_faults $(if $(SECONDS),--seconds $(SECONDS))

bench-swap: $(READY) ## 20 releases swapped in 60 s under load, beside a run without
	$(BIN)/python -m benchmarks.bench_swap

bench-shadow: $(READY) ## the champion's answers without and with a shadow beside them
	$(BIN)/python -m benchmarks.bench_shadow

bench-sizing: $(READY) ## memory and disk by customers and items; FULL=1 for a million of each
	$(BIN)/python -m benchmarks.bench_sizing $(if $(FULL),--full)

bench-schema: $(READY) ## 1,000 calls of every operation by schemathesis, right and wrong
	$(BIN)/python -m benchmarks.bench_schema

bench-access: $(READY) ## CPU of knowing and counting callers, a request
	$(BIN)/python -m benchmarks.bench_access

bench-http: $(READY)
	$(BIN)/python -m benchmarks.bench_http

bench-cost: $(READY) ## CPU of keys, limits, log, metrics and assignment; beside mlflow models serve and FastAPI
	$(BIN)/python -m benchmarks.bench_cost

bench-shop-churn: $(READY) ## churn of a real shop beside its baselines; make bench-shop-churn LOG=FILE for another
	$(BIN)/python -m benchmarks.bench_shop_churn $(if $(LOG),--log $(LOG))

bench-shop-recommendations: $(READY) ## repeat purchase and new items of a real shop, out of time; LOG=FILE for another
	$(BIN)/python -m benchmarks.bench_shop_recommendations $(if $(LOG),--log $(LOG))

bench-churn-tables: $(READY) ## churn of labelled tables in 5 folds; TABLE=FILE LABEL=COLUMN ID=COLUMN for another
	$(BIN)/python -m benchmarks.bench_churn_tables $(if $(TABLE),--table $(TABLE) --label $(LABEL) --id $(ID))

bench-off-policy: $(READY) ## a policy's value from another one's log; make bench-off-policy DATA=FOLDER for other Open Bandit files
	$(BIN)/python -m benchmarks.bench_off_policy $(if $(DATA),--data $(DATA))

bench-cdnow: $(READY) ## order counts beside BG/NBD on CDNOW; make bench-cdnow CDNOW=FILE for another sample
	$(BIN)/python -m benchmarks.bench_cdnow $(if $(CDNOW),--path $(CDNOW))

bench-published-tables: $(READY) ## recommenders beside published tables; ONLY=gowalla FOLDER=DIR for other files
	OPENBLAS_NUM_THREADS=2 $(BIN)/python -m benchmarks.bench_published_tables $(if $(ONLY),--only $(ONLY)) $(if $(FOLDER),--path $(FOLDER))

lock: $(READY) ## write the lock files anew
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  --extra training --extra page --extra tracing --group dev pyproject.toml --output-file requirements/dev.txt
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  --extra serving --extra tracing --constraint requirements/dev.txt pyproject.toml --output-file requirements/serving.txt

clean: ## remove .venv, caches and the demo's folder
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache holdfast-demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
