# `make help` explains the targets. Everything runs from the virtual environment in .venv, which the targets set up.
SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help aws azure demo demo-down rehearse nightly test test-twins unit check engines conformance bench lock pin audit dev engine
# A company's certificates are in the machine's store, which uv reads only when told to.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt),)
export UV_SYSTEM_CERTS ?= 1
endif
# Without the compiled modules that Python keeps, each of the many programs that run here would compile the clouds' SDKs again.
unexport PYTHONDONTWRITEBYTECODE
PYTHON_IN_VENV := .venv/bin/python
CLOUD ?= aws
RECIPE ?= chatbot
# Other recipes collect packages, and score translations.
DEMO_NEEDS := $(if $(filter chatbot chatbot-tf,$(RECIPE)),kit,data)
# Pulumi's engine is compiled beside the download of the packages.
demo demo-down aws azure rehearse bench conformance dev: export LLMOPS_SETUP_ENGINE := yes
demo: export LLMOPS_SETUP_FOR := demo
demo: export LLMOPS_DEMO_BEGAN := $(shell date +%s)
PROJECTS := pyproject.toml hosting/pyproject.toml twins/pyproject.toml

help: ## Explain the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: .venv/$(DEMO_NEEDS).stamp engine ## Train, check, sign and deploy a small model on this machine, and ask it something (RECIPE=translation: another one)
	@$(PYTHON_IN_VENV) -m tools.demo up $(RECIPE)

demo-down: .venv/kit.stamp engine ## Take the demo's endpoint down; models and data stay
	@$(PYTHON_IN_VENV) -m tools.demo down $(RECIPE)

aws: .venv/aws-twin.stamp engine ## Set up for stacks on AWS, and for AWS's twin on this machine

azure: .venv/azure-twin.stamp engine ## Set up for stacks on Azure, and for Azure's twin on this machine

rehearse: .venv/$(CLOUD)-twin.stamp engine ## Go through a model's whole life on a twin (CLOUD=aws or azure); the report is in rehearsal-report/
	@.venv/bin/llmops rehearse $(CLOUD)

nightly: ## Run the long tests, and rehearsals with each fault in turn: hours, beyond `make test` and `make test-twins` (ONLY=tests/conformance: that part)
	@tools/test.sh nightly $(ONLY)

test: ## Set everything up, and check and test the kit
	@tools/test.sh kit

test-twins: ## Set everything up, check the twins' types, run their tests, hosting's and conformance
	@tools/test.sh twins

unit: .venv/dev.stamp ## Run the unit tests: no engine, no servers, a minute
	@tools/test.sh unit

check: .venv/dev.stamp ## Check format, lint, types, import rules and dead code
	@tools/check.sh

engines: .venv/dev.stamp ## Test vLLM with its build for processors: 6 GB, once, and minutes
	@$(PYTHON_IN_VENV) -m pytest -q -p no:xdist tests/engines

conformance: .venv/dev.stamp engine ## Compare losses, weights and tokens of this machine and both twins (OPTIONS=recipes/assistant.yaml)
	@$(PYTHON_IN_VENV) -m tools.conformance $(OPTIONS)

bench: .venv/dev.stamp engine ## Measure and print ratios
	@$(PYTHON_IN_VENV) -m bench

lock: .venv/dev.stamp ## Renew requirements/*.txt from requirements/*.in (OPTIONS=--upgrade for newer versions)
	@UV=$(CURDIR)/.venv/bin/uv tools/lock.sh $(OPTIONS)

pin: .venv/dev.stamp ## Renew the pins of GitHub Actions, base images and Pulumi's archives, where they can be reached
	@$(PYTHON_IN_VENV) -m tools.pins

audit: .venv/dev.stamp ## Look for known vulnerabilities in locks and images; says what could not be scanned
	@$(PYTHON_IN_VENV) -m tools.audit $(OPTIONS)

dev: .venv/dev.stamp engine ## Set up for work on the kit

engine: .venv/kit.stamp
	@tools/setup.sh engine

# A larger set serves the smaller ones too: after `make test`, `make demo` keeps it.
.venv/kit.stamp: requirements/kit.txt $(PROJECTS)
	@tools/setup.sh kit

.venv/data.stamp: requirements/data.txt $(PROJECTS)
	@tools/setup.sh data

.venv/aws-twin.stamp: requirements/aws-twin.txt $(PROJECTS)
	@tools/setup.sh aws-twin

.venv/azure-twin.stamp: requirements/azure-twin.txt $(PROJECTS)
	@tools/setup.sh azure-twin

.venv/dev.stamp: requirements/dev.txt $(PROJECTS)
	@tools/setup.sh dev
