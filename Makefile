# Every target sets up .venv the first time; nothing else is needed by hand.
python := .venv/bin/python

.PHONY: help demo serve test test-containers test-open-webui lint settings bench bench-gpu setup clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 18

demo: .venv/ready  ## transcribe samples/ with the embedded checkpoint and print who said what when
	$(python) -m scripts.demo

serve: .venv/ready  ## engine + proxy in the foreground on :8899 (MODEL_DIR=folder or hub id for the real model)
	$(python) -m scripts.serve

test: .venv/ready lint  ## lint, types and every test that this machine can run
	.venv/bin/pytest --numprocesses 2 --dist loadgroup

test-containers: .venv/ready  ## the images built and run, on Docker or on a dockerd of its own (root)
	.venv/bin/pytest -m docker --durations=0 --durations-min=1 tests/containers

test-open-webui: .venv/ready  ## the real Open WebUI, over its API and through its page in Chromium
	scripts/setup_open_webui.sh
	.venv/bin/pytest -m openwebui tests/deploy/test_open_webui.py tests/deploy/test_open_webui_call.py

lint: .venv/ready  ## style, spelling and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/codespell
	.venv/bin/pyright

settings: .venv/ready  ## write what follows from the settings: docs/settings.md, .env.example, plans of docs/gpu.md, Helm schema, manifests
	$(python) -m scripts.write_settings
	$(python) -m scripts.write_plans
	$(python) -m scripts.write_chart

bench: .venv/ready  ## ratios, measured side by side; more in bench/
	$(python) -m bench.concurrency
	$(python) -m bench.proxy_overhead
	$(python) -m bench.speech --layers 6 --frames 2 --streams 1 2

bench-gpu: .venv/ready  ## everything that only a GPU can show, into docs/gpu.md (ARGS="--minutes 15" stops in time)
	$(python) -m bench.gpu $(ARGS)

setup: .venv/ready  ## .venv with everything that the other targets need

.venv/ready: pyproject.toml scripts/setup.sh
	scripts/setup.sh

clean:  ## remove .venv
	rm -rf .venv
