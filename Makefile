# What a developer types; `make` alone lists it. CONTRIBUTING.md says what is needed beforehand.

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install -qq --constraint constraints.txt
# Arguments for pytest or the benchmarks: make test ARGS="tests/unit -x"
ARGS ?=
# Processes that run tests at the same time: make test WORKERS=0 runs all in one.
WORKERS ?= auto
COMPOSE ?= docker compose
FAULTS := tests/integration/faults
FAULT_WORKERS ?= 2
E2E := tests/e2e
SWARM := $(E2E)/test_swarm.py
SERVICES := $(patsubst %/app.py,%,$(wildcard services/*/app.py))
# What `versions` runs, and with which RabbitMQ, beside the one that `test` takes.
ON_ALL_VERSIONS := tests/contract tests/integration/rabbitmq/access \
	tests/integration/cli/test_export_broker.py tests/integration/cli/test_operator.py
RABBITMQ_IMAGES ?= rabbitmq:4.0-management rabbitmq:4-management
ENGINE_ANSWERS := docker info >/dev/null 2>&1 || { echo >&2 \
	"No container engine answers: start Docker, or say in DOCKER_HOST where it is."; exit 1; }
# The newest Python that can make a virtual environment: make install PYTHON=python3.12 takes another.
PYTHON ?= $(shell for python in python3.14 python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)

# The tests start hundreds of processes, and each would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE
# constraints.txt decides which versions are used: that there are newer ones is no news here.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.PHONY: help install demo up down secrets lock test versions interpreters e2e swarm conformance faults faultsfull faultspeers check ruff format mypy pyright layers lengths pictures docs audit sbom bench constraints clean

help: ## list what there is to make
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## make .venv and install the project and its tools into it

demo: install ## run the shop of services/: order by HTTP, and see what fires what
	$(BIN)/python -m services.demo

up: secrets ## build the same shop's images and start it in containers, at http://127.0.0.1:8080
	$(COMPOSE) up --detach --build --wait

down: ## stop the containers, and keep their data
	$(COMPOSE) down

# What is there already stays, so that the containers go on; only rights are written anew.
secrets: install ## make passwords and certificates for `up`, and the rights that the code needs
	@$(BIN)/eventmesh export secrets $(SERVICES) --output secrets $(ARGS)

lock: install ## write requirements.lock anew: the files that the shop's images install, by hash
	@$(ENGINE_ANSWERS)
	@$(BIN)/eventmesh build --lock $(SERVICES) $(ARGS)

test: install build/lambdas/.installed ## run the tests, but those of `faults` and `e2e` (ARGS="..." goes to pytest)
	$(BIN)/python -m pytest -n $(WORKERS) --ignore $(E2E) --ignore $(FAULTS) $(ARGS)

versions: install ## run the suites of the contract and of permissions on RabbitMQ 4.0 and the latest 4.x
	@$(ENGINE_ANSWERS)
	@set -e; for image in $(RABBITMQ_IMAGES); do \
		echo "$$image"; \
		EVENTMESH_TEST_IMAGE=$$image \
			$(BIN)/python -m pytest -n $(WORKERS) $(ON_ALL_VERSIONS) $(ARGS); \
	done

interpreters: install ## run the unit and contract tests on another Python, and on 3.14 in a container
	@$(ENGINE_ANSWERS)
	.ci/interpreters $(ARGS)

e2e: install ## build the shop, start it in containers, and kill, scale and replace them under load
	@$(ENGINE_ANSWERS)
	$(BIN)/python -m pytest -o faulthandler_timeout=3600 $(E2E) --ignore $(SWARM) $(ARGS)

swarm: install ## scale and roll out a mesh on Docker Swarm, through zero and back, under load: 7 minutes
	@$(ENGINE_ANSWERS)
	$(BIN)/python -m pytest -o faulthandler_timeout=3600 $(SWARM) $(ARGS)

conformance: install build/lambdas/.installed build/conformance/.installed ## run AWS's conformance suite for durable functions, on RabbitMQ and PostgreSQL
	$(BIN)/python tests/conformance/run.py build/conformance build/lambdas/node/node_modules $(ARGS)

# Apart from the others: what they measure and wait for needs the machine. One process runs those
# with a cluster, and one all others.
faults: install build/lambdas/.installed ## kill, cut and restart RabbitMQ and workers under load; they print figures
	$(BIN)/python -m pytest -n $(FAULT_WORKERS) -o faulthandler_timeout=1500 \
		$(or $(filter tests/%,$(ARGS)),$(FAULTS)) $(filter-out tests/%,$(ARGS))

faultsfull: install ## the same at full size: an hour or so
	EVENTMESH_TEST_FULL=1 $(BIN)/python -m pytest -o faulthandler_timeout=24000 \
		$(or $(filter tests/%,$(ARGS)),$(FAULTS) tests/integration/store/test_dying.py) \
		$(filter-out tests/%,$(ARGS))

faultspeers: build/bench/.installed ## kill nodes under eventmesh and its peers, and compare what they lose
	build/bench/bin/python -m benchmarks.cluster $(ARGS)

check: ruff format mypy pyright layers lengths ## run all static checks; each has a target of its name

ruff: install
	$(BIN)/ruff check

format: install
	$(BIN)/ruff format --check

mypy: install
	$(BIN)/mypy

pyright: install
	$(BIN)/pyright

layers: install
	$(BIN)/lint-imports --no-logo

lengths:
	@find . -name '*.py' -not -path './.*' -not -path './build/*' -exec awk \
		'FNR == 400 { print FILENAME ": 400 lines or more, split it"; long = 1 } END { exit long }' {} +

# They are taken by a test, of the page that the shop's processes serve.
pictures: install ## take the pictures of the console in docs/images anew; Chromium must be there
	EVENTMESH_TEST_PICTURES=docs/images $(BIN)/python -m pytest -n0 \
		tests/integration/console/test_console_shop.py \
		tests/integration/console/test_console_operations.py -k 'dev or picture' $(ARGS)

docs: install ## build the pages of docs/ into build/docs/index.html; a broken link is an error
	$(BIN)/zensical build --strict --clean

audit: install ## ask whether a package that is installed here has a known advisory
	$(BIN)/python .ci/audit

# Of what users install, in a virtual environment without our tools.
sbom: install ## write build/sbom.json: what the package installs, as CycloneDX
	@rm -rf build/sbom
	$(BIN)/python -m venv build/sbom
	build/sbom/bin/python -m pip install -qq --constraint constraints.txt --upgrade pip
	build/sbom/bin/python -m pip install -qq --constraint constraints.txt \
		--build-constraint constraints.txt '.[otel]'
	build/sbom/bin/python -m pip uninstall -qq --yes pip setuptools
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --mc-type library --validate \
		--output-reproducible --output-format JSON --output-file build/sbom.json \
		build/sbom/bin/python

bench: build/bench/.installed ## run the benchmarks (ARGS="..." goes to them); wrk must be there
	build/bench/bin/python -m benchmarks $(ARGS)

# With the oldest Python that is supported: what it needs, the newer ones can use.
constraints: PYTHON = python3.11
constraints: ## resolve every dependency anew and pin it in constraints.txt
	rm -rf build/constraints
	$(PYTHON) -m venv build/constraints
	build/constraints/bin/python -m pip install -qq --upgrade pip
	build/constraints/bin/python -m pip install -qq --editable '.[otel]' \
		--group dev --group bench --group lambdas hatchling editables
	build/constraints/bin/python -m pip install -qq --ignore-requires-python --group conformance
	build/constraints/bin/python -m pip freeze --all --exclude-editable --exclude setuptools \
		> constraints.txt

clean: ## remove all that was made
	rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo >&2 \
		"No Python 3.11 or newer with venv was found: install python3 and python3-venv."; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# pip first: the one that comes with Python 3.11 knows no dependency groups.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) --upgrade pip
	$(PIP_INSTALL) --build-constraint constraints.txt --editable . --group dev
	@touch $@

# What people's Lambda functions import, apart: the tests show it to those functions alone. npm
# compiles the native part of AWS's client for Node; node-gyp would load headers that Debian has.
build/lambdas/.installed: pyproject.toml constraints.txt | $(VENV)/.installed
	@command -v npm cmake g++ xz >/dev/null || { echo >&2 \
		"The tests of Lambda functions need Node.js: install nodejs, npm, cmake, g++ and xz."; exit 1; }
	@mkdir -p build/lambdas/node
	$(PIP_INSTALL) --target build/lambdas/python --upgrade --group lambdas
	cd build/lambdas/node && MAKEFLAGS=-j2 npm install aws-lambda-ric@4.0.2 \
		@aws/durable-execution-sdk-js@2.4.0 --no-package-lock \
		--no-audit --no-fund --loglevel error $(if $(wildcard /usr/include/node/node.h),--nodedir=/usr)
	@touch $@

# A layer of AWS's SDK, and the suite beside it.
build/conformance/.installed: pyproject.toml constraints.txt | $(VENV)/.installed
	@mkdir -p build/conformance
	$(PIP_INSTALL) --ignore-requires-python --target build/conformance/python --upgrade \
		--group conformance
	@touch $@

# The peers stay apart from what the project is developed and tested with.
build/bench/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m venv build/bench
	build/bench/bin/python -m pip install -qq --constraint constraints.txt --upgrade pip
	build/bench/bin/python -m pip install -qq --constraint constraints.txt \
		--build-constraint constraints.txt --editable '.[jwt,lambda,sql]' --group bench
	@touch $@
