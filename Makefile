SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint soak bench train-mini gpu-check container lock clean

# Relative on purpose: a checkout whose path holds spaces works too.
venv := .venv/bin
in_venv := PATH="$$PWD/.venv/bin:$$PATH"
version := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
engine := $(notdir $(firstword $(shell command -v podman docker)))

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.* ## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

setup: ## build .venv from the lock file (nothing to do when it is up to date)
	@tools/setup.sh

demo: setup ## call the bundled sequences with the mini models, on the CPU
	@mkdir -p .demo # its work and history stay out of those of your own runs here
	cd .demo && PATH="$$PWD/../.venv/bin:$$PATH" ../tools/nextflow run ../main.nf -profile test,local --outdir ../results/demo
	@$(venv)/python tools/show_calls.py results/demo

lint: setup ## ruff, mypy, and which way imports run
	$(venv)/python -m ruff check
	$(venv)/python -m ruff format --check
	$(venv)/python -m mypy
	$(venv)/lint-imports --no-cache --no-logo

test: setup lint ## lint, then pytest, then nf-test when it is on the PATH
	$(in_venv) python -m pytest --numprocesses 2 --dist loadfile
	@if command -v nf-test > /dev/null; then \
	    PATH="$$PWD/.venv/bin:$$PWD/tools:$$PATH" nf-test test; \
	else \
	    echo "NOTE: nf-test is not on the PATH: the module tests (modules/*/tests) were NOT run."; \
	fi

soak: setup ## many more kills, damages and full disks than make test has (hours)
	$(in_venv) SOAK=1 python -m pytest tests/faults tests/pipeline/test_faults.py -v

bench: setup ## measure ESM-2 beside its peers on this machine (other questions: benchmarks/*.py)
	$(venv)/python -m uv pip install --quiet --python $(venv)/python --requirements requirements-bench.lock
	$(venv)/python -W ignore -m benchmarks.speed

GENOMES ?= ../shared/genomes
MINI_DATASET := --lengths 300,500,1000,3000 --windows 2500 --keep-short --on-leak drop --leave-out $(GENOMES)/small --seed 1
MINI_TRAINING := --composition-epochs 10 --frames 16000 --masked-epochs 2 --epochs 2 --threads 2 --seed 1 --demonstration
train-mini: setup .train/mini/manifest.json ## train the bundled set `mini` again from GENOMES (half an hour of two cores)
	$(in_venv) python -m virnucpro train set .train/mini --output virnucpro/model_sets/mini --replace --resume $(MINI_TRAINING)

.train/mini/manifest.json: training/mini.tsv $(wildcard training/genomes/*) Makefile | setup
	@test -d "$(GENOMES)" || { echo "Error: no folder $(GENOMES); make train-mini GENOMES=folder" >&2; exit 1; }
	rm -rf .train/mini virnucpro/model_sets/.mini.training # what was begun on other data
	$(in_venv) python -m virnucpro dataset build training/mini.tsv --data-dir $(GENOMES) --output .train/mini $(MINI_DATASET)

DEVICE ?= cuda
SHAPE ?= $(if $(filter cpu,$(DEVICE)),tiny,3b)
gpu-check: setup ## try on this GPU all that needs one (DEVICE=cpu SHAPE=tiny: the rest of it)
	$(in_venv) python -m benchmarks.gpu_check --device $(DEVICE) --shape $(SHAPE)

container: ## build the image with podman or docker (engine=docker chooses, CONTAINER_BUILD_FLAGS adds flags)
	@test -n "$(engine)" || { echo "Error: neither podman nor docker is on the PATH" >&2; exit 1; }
	$(engine) build $(CONTAINER_BUILD_FLAGS) --file containers/Containerfile \
	    --tag virnucpro:$(version) --tag localhost/virnucpro:$(version) .

lock: setup ## write the lock files again (LOCK_FLAGS=--upgrade for newer versions)
	@compile() { $(venv)/python -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --no-annotate --custom-compile-command "make lock" $(LOCK_FLAGS) "$$@"; }; \
	compile pyproject.toml --extra train --extra bam --output-file requirements.lock; \
	compile pyproject.toml --extra train --extra bam --group dev --constraint requirements.lock --output-file requirements-dev.lock; \
	compile pyproject.toml --extra train --extra bam --group dev --group bench --constraint requirements-dev.lock \
	    --output-file requirements-bench.lock; \
	compile - --output-file tools/uv.lock <<< uv

clean: ## remove what make made, the environment included; results and work of your own runs stay
	rm -rf .venv .train .tools/nextflow-* .tools/partial.* .tools/setup.lock .demo .nf-test .nf-test.log build *.egg-info .mypy_cache .pytest_cache .ruff_cache
	rm -rf results/demo
	test -e .tools/nxf-home/config || rm -rf .tools/nxf-home # a config there is yours
	rmdir results .tools 2> /dev/null || true
