# Each target makes .venv as needed; pip follows your own settings (index, proxy, cache).
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: install demo test check bench lmms clean
.DEFAULT_GOAL := install

install: $(STAMP)

# torch goes first and alone: later installs then find the pinned build and fetch no other.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[train,eval,dev]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python examples/demo.py --out out/demo

test: $(STAMP)
	$(BIN)/python -m pytest

check: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(STAMP)
	mkdir -p out/bench
	$(BIN)/mogao bench ectf --json | tail -n 1 > out/bench/ectf.json
	$(BIN)/mogao bench train --json | tail -n 1 > out/bench/train.json
	$(BIN)/mogao bench train --eager --json | tail -n 1 > out/bench/train-eager.json
	$(BIN)/mogao bench decode --json | tail -n 1 > out/bench/decode.json
	$(BIN)/mogao bench denoise --json | tail -n 1 > out/bench/denoise.json
	$(BIN)/mogao bench interleave --json | tail -n 1 > out/bench/interleave.json
	$(BIN)/mogao bench batch --json | tail -n 1 > out/bench/batch.json
	@echo "wrote out/bench/*.json"

LMMS := .venv-lmms

lmms: $(LMMS)/.installed
	$(LMMS)/bin/python -m pytest tests/bridges
	$(LMMS)/bin/python examples/lmms/run.py --out out/lmms

# lmms-eval asks for torchvision and pins of its own, so nothing is installed but what is named.
$(LMMS)/.installed: pyproject.toml constraints-lmms.txt
	test -x $(LMMS)/bin/python || $(PYTHON) -m venv $(LMMS)
	$(LMMS)/bin/python -m pip install --quiet "$$(grep '^torch==' constraints-lmms.txt)"
	$(LMMS)/bin/python -m pip install --quiet --no-deps -r constraints-lmms.txt
	$(LMMS)/bin/python -m pip install --quiet --no-deps -e .
	touch $@

clean:
	rm -rf .venv $(LMMS) out
