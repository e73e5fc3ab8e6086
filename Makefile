# What a person types; .ci/run types the same. `make` alone lists it.
.DEFAULT_GOAL := help
.PHONY: help setup demo run caption test test-slow test-browser test-metrics test-container check bench clean
python := .venv/bin/python
as_root = $(if $(filter 0,$(shell id -u)),,sudo)

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | expand -t 12

setup: ## make .venv, once  [PYTHON=/path/to/python3.11] [TORCH_INDEX=<PyTorch's own CPU index>]
	@PYTHON="$(PYTHON)" TORCH_INDEX="$(TORCH_INDEX)" sh scripts/setup.sh

demo: setup ## caption the pictures in examples/ with the bundled model, keep serving  [ONCE=1: stop after the table]
	@$(python) -m scripts.demo $(if $(ONCE),--once)

run: setup ## the service, with the model of .env or the default one
	@$(python) REST.py

caption: setup ## print the caption of FILE, a picture or a URL  [SERVER=http://localhost:7777]
	@test -n "$(FILE)" || { echo "make caption FILE=PICTURE" >&2; exit 2; }
	@$(python) -m services.client $(if $(SERVER),--server "$(SERVER)") "$(FILE)"

test: setup ## the quick tests
	$(python) -m pytest -m "not slow"

test-slow: setup ## the tests that load a model of full size or take long
	$(python) -m pytest -m slow

test-browser: setup ## the page in a real Chromium; installs Debian's, as root or by sudo, where there is none
	@command -v chromium >/dev/null || { $(as_root) apt-get update && $(as_root) apt-get install -y \
		--no-install-recommends chromium fonts-noto-color-emoji; }
	$(python) -m pytest tests/browser

test-metrics: setup ## /metrics, the dashboard and the alerts by Prometheus' own promtool; installs Debian's likewise
	@command -v promtool >/dev/null || { $(as_root) apt-get update && $(as_root) apt-get install -y \
		--no-install-recommends prometheus; }
	$(python) -m pytest tests/web/test_metrics.py tests/web/test_prometheus.py

test-container: setup ## build the image and run it, by Docker, or as root by podman; many minutes the first time
	@command -v docker-compose >/dev/null || docker compose version >/dev/null 2>&1 || \
		{ $(as_root) apt-get update && $(as_root) apt-get install -y --no-install-recommends docker-compose; }
	TORCH_INDEX="$(TORCH_INDEX)" $(python) -m pytest tests/deploy/in_a_container.py

check: setup ## style, types, import rules
	.venv/bin/ruff check
	.venv/bin/mypy
	$(python) -m pytest tests/test_import_rules.py

bench: setup ## every measurement of benchmarks/RESULTS.md but the GPU's, one after the other; an hour or more
	$(python) -m benchmarks.startup
	$(python) -m benchmarks.one_image
	$(python) -m benchmarks.load
	$(python) -m benchmarks.batch
	$(python) -m benchmarks.serve
	$(python) -m benchmarks.overload
	$(python) -m benchmarks.emoji
	$(python) -m benchmarks.two_models
	$(python) -m benchmarks.precision
	$(python) -m benchmarks.parity --model demo --beams 1
	$(python) -m benchmarks.parity --model demo --beams 3
	$(python) -m benchmarks.parity --model demo --beams 5
	$(python) -m benchmarks.parity --model blip_caption/base_coco --images 8
	$(python) -m benchmarks.parity --model blip_caption/large_coco --images 8

clean: ## remove .venv and all caches
	rm -rf .venv .venv-transformers .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
