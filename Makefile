# Each target does all its set-up: `.venv` comes from the lock, made once.
PYTHON ?= python3
BIN = .venv/bin

demo: .venv ## the whole bot in this terminal, on a simulated cluster, 20 times as fast as a real one
	@$(BIN)/python -m bot demo --speed 20

test: .venv ## with KUBEBUILDER_ASSETS and VLLM_BIN also on a real control plane and a real vLLM
	$(BIN)/python -m pytest

lint: .venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv .venv-mmpy ## the figures of docs/benchmarks.md, as ratios in one run
	$(BIN)/python -m tests.bench

.PHONY: docs picture
docs: .venv ## docs/reference from the code, after a change of settings, commands, metrics, annotations or causes
	$(BIN)/python -m tools.generate_docs

picture: .venv ## docs/demo.svg, from a run of the demo
	$(BIN)/python -m tools.draw_demo

e2e: .venv ## the story on real parts alone
	$(BIN)/python -m pytest tests/e2e

image:
	docker build -t llm-bot .

lock: .venv ## after a change of pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header -q -o requirements/run.txt
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-header -q -o requirements/dev.txt

.venv: requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch .venv

.venv-mmpy: # what the bench compares with
	$(PYTHON) -m venv --clear .venv-mmpy
	.venv-mmpy/bin/python -m pip install -q --disable-pip-version-check mmpy_bot==2.2.1 mattermostautodriver==2.3.0 httpx==0.27.2
	@touch .venv-mmpy

.PHONY: demo test lint bench e2e image lock
