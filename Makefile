# Every target sets up .venv on first use; nothing else has to be done by hand.
python := .venv/bin/python
EXTRAS ?= proxy batch live cpu

.PHONY: help demo serve test test-containers test-open-webui lint docs settings bench bench-gpu dist sbom release setup clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 18

demo: .venv/ready  ## transcribe samples/ with the embedded checkpoint and print who said what when
	$(python) -m scripts.demo

serve: .venv/ready  ## run engine + proxy in the foreground on :8899 (MODEL_DIR=folder or hub id for the real model)
	$(python) -m scripts.serve

test: .venv/ready lint  ## lint, type-check and run every test that this machine can run
	.venv/bin/pytest --numprocesses 2 --dist loadfile

test-containers: .venv/ready  ## build and run the images, with Docker or with its own dockerd (as root)
	.venv/bin/pytest -m docker --durations=0 --durations-min=1 tests/containers

test-open-webui: .venv/ready  ## test with the real Open WebUI, through its API and its page in Chromium
	scripts/setup_open_webui.sh
	.venv/bin/pytest -m openwebui tests/deploy/test_open_webui.py tests/deploy/test_open_webui_call.py

lint: .venv/ready  ## check style, spelling and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/codespell
	.venv/bin/pyright

docs: .venv/ready  ## build the docs site in site/ (REPOSITORY_URL=… for links to files)
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

settings: .venv/ready  ## write all files generated from the settings: docs/reference/settings.md, .env.example, plans in docs/guides/gpu.md, Helm schema, manifests
	$(python) -m scripts.write_settings
	$(python) -m scripts.write_plans
	$(python) -m scripts.write_chart

bench: .venv/ready  ## measure ratios side by side; more in bench/
	$(python) -m bench.concurrency
	$(python) -m bench.proxy_overhead
	$(python) -m bench.speech --layers 6 --frames 2 --streams 1 2

bench-gpu: .venv/ready  ## measure everything that needs a GPU and write docs/results/gpu.md (ARGS="--minutes 15" sets a time limit)
	$(python) -m bench.gpu $(ARGS)

dist: .venv/ready  ## the wheel and the sdist of a release in dist/, checked by twine
	rm -rf dist
	.venv/bin/uv build --quiet --out-dir dist
	.venv/bin/uv tool run --quiet twine==7.0.0 check --strict dist/*.whl dist/*.tar.gz
	@ls -l dist

sbom: dist  ## a software bill of materials for each extra in dist/ (EXTRAS="proxy,tts gpu": 3 to 6 GB of downloads)
	.venv/bin/uv run --quiet --isolated --no-project --python $(python) --with cyclonedx-bom==7.5.0 \
		python -m scripts.sbom dist $(EXTRAS)

release: dist sbom  ## all of the above, and dist/*.whl in empty environments: every Python found on PATH, and the engine
	RELEASE_DIST=dist .venv/bin/pytest -m "release or not release" tests/release

setup: .venv/ready  ## create .venv with everything that the other targets need

.venv/ready: pyproject.toml scripts/setup.sh
	scripts/setup.sh

clean:  ## remove .venv
	rm -rf .venv
