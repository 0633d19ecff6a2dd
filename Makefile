# Every target sets up .venv the first time; nothing else is needed by hand.
python := .venv/bin/python

.PHONY: demo serve test test-open-webui lint bench setup clean

demo: .venv/ready  ## transcribe samples/ with the embedded checkpoint and print who said what when
	$(python) scripts/demo.py

serve: .venv/ready  ## engine + proxy in the foreground on :8899 (MODEL_DIR=folder or hub id for the real model)
	$(python) scripts/serve.py

test: .venv/ready lint  ## lint, types and every test that this machine can run
	.venv/bin/pytest

test-open-webui: .venv/ready  ## the real Open WebUI, over its API and through its page in Chromium
	scripts/setup_open_webui.sh
	.venv/bin/pytest -m openwebui tests/test_open_webui.py

lint: .venv/ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/pyright

bench: .venv/ready  ## ratios, measured side by side
	$(python) bench/concurrency.py
	$(python) bench/proxy_overhead.py
	$(python) bench/speech.py --layers 6 --frames 2 --streams 1 2

setup: .venv/ready

.venv/ready: pyproject.toml scripts/setup.sh
	scripts/setup.sh

clean:
	rm -rf .venv
