# make demo    draws digits with the shipped weights, all set-up included
# make test    runs the tests
# make smoke   runs every listing on a tiny budget and prints a table; BACKEND=torch or jax
# make figures redraws the figures from the pretrained weights and the logs
# make site    builds the pages and the explorer into site/_build/html; needs node and npm
# make notebooks  runs the notebooks on a tiny budget; their outputs stay as they are
# make address URL=https://HOST/OWNER/NAME  writes the address of the repository everywhere
# make lint    checks style, format, spelling, types and the direction of imports
PYTHON ?= python3
BIN := .venv/bin
# `make address` writes the address of the repository into CITATION.cff; the site then links to its files.
ADDRESS := $(shell sed -n 's/^repository-code: "\(.*\)"$$/\1/p' CITATION.cff)
REPOSITORY ?= $(if $(ADDRESS),$(ADDRESS)/blob/main)
LINKS := $(if $(REPOSITORY),--repository $(REPOSITORY))

.PHONY: demo test smoke figures site notebooks address lint clean

demo: .venv/runtime
	$(BIN)/python chapter4-gan/dcgan-mnist-4.2.1.py --generator=dcgan_mnist.h5 --output-dir=demo
	$(BIN)/python chapter4-gan/cgan-mnist-4.3.1.py --generator=cgan_mnist.h5 --digit=8 --output-dir=demo

test: .venv/development
	$(BIN)/python -m pytest

smoke: .venv/runtime
	$(if $(BACKEND),KERAS_BACKEND=$(BACKEND)) $(BIN)/python tests/smoke.py $(WORDS)

figures: .venv/runtime
	$(BIN)/python -m tools.figures

# then: python3 -m http.server --directory site/_build/html
site: .venv/site site/node_modules/.package-lock.json
	$(BIN)/python site/build_explorer.py $(LINKS)
	$(BIN)/python site/build_pages.py $(LINKS)

notebooks: .venv/site
	$(BIN)/python -m tools.notebooks --tiny

address:
	@$(PYTHON) -m tools.address "$(URL)"

lint: .venv/development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/runtime: requirements.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

.venv/development: requirements-dev.txt requirements-export.txt requirements.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@ .venv/runtime

.venv/site: requirements-site.txt requirements-export.txt requirements.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet -r requirements-site.txt
	touch $@

site/node_modules/.package-lock.json: site/package-lock.json
	cd site && npm ci --ignore-scripts --no-audit --no-fund
	touch $@

clean:
	rm -rf .venv demo onnx site/_build site/node_modules
