# Every target sets up .venv the first time; nothing else is needed by hand.
python := .venv/bin/python

.PHONY: demo serve test lint bench setup clean

demo: .venv/ready  ## transcribe samples/ with the embedded checkpoint and print who said what when
	$(python) scripts/demo.py

serve: .venv/ready  ## engine + proxy in the foreground on :8899 (MODEL_DIR=folder or hub id for the real model)
	$(python) scripts/serve.py

test: .venv/ready lint  ## lint, types and every test that this machine can run
	.venv/bin/pytest

lint: .venv/ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/pyright

bench: .venv/ready  ## ratios, measured side by side
	$(python) bench/concurrency.py

setup: .venv/ready

.venv/ready: pyproject.toml scripts/setup.sh
	scripts/setup.sh

clean:
	rm -rf .venv
