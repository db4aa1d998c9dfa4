# What a new machine needs: Python 3.11 or newer, git and make. Each target sets up the rest in .venv, and says what is missing.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-builtin-rules
# Each process that is started would compile what it imports anew, for seconds.
export PYTHONDONTWRITEBYTECODE :=

PY := .venv/bin/python
UV := .venv/bin/uv

# Two halves of one .venv: what runs the product, so that a newcomer waits for no more than that, and what tests it.
SERVER := .venv/server.stamp
DEV := .venv/dev.stamp

help:  ## list what can be made
	@sed -nE 's/^([a-z%-]+):[^#]*## (.*)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

up: $(SERVER)  ## run scrapewatch on 127.0.0.1:8000 until Ctrl-C
	.venv/bin/scrapewatch up $(ARGS)

demo: $(SERVER)  ## run it and let a demo crawl report; LOGS=folder imports Scrapy logs, too
	.venv/bin/scrapewatch demo $(if $(LOGS),--logs "$(LOGS)") $(ARGS)

test: $(DEV)  ## run the tests; ARGS="-k name" for some
	$(PY) -m pytest $(ARGS)

check: $(DEV)  ## check format, lint, types, dashboards and generated documentation
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m grafana.build --check
	$(PY) -m stack.docs --check

soak: $(DEV)  ## faults, load and kills for an hour, then an exact comparison; ARGS="--minutes 10" for less
	$(PY) -m tests.faults.soak $(ARGS)

bench: $(patsubst bench/%.py,bench-%,$(filter-out bench/_%,$(wildcard bench/*.py)))  ## run all benchmarks

bench-%: $(DEV)  ## run one, such as bench-collector
	$(PY) -m bench.$* $(ARGS)

influxd:  ## find or build the InfluxDB that the tests run on
	@bash tools/influxd/build.sh

stack:  ## run all parts as containers
	@bash tools/stack.sh $(ARGS)

dashboards: $(DEV)  ## write grafana/dashboards from grafana/build
	$(PY) -m grafana.build

docs: $(DEV)  ## write the generated documentation
	$(PY) -m stack.docs

COMPILE = $(UV) pip compile -q --universal --generate-hashes --no-strip-extras --no-annotate --custom-compile-command "make lock"
$(UV): $(DEV)
	$(PY) -m pip install --quiet --disable-pip-version-check uv==0.13.9

lock: $(UV)  ## pin the newest dependencies that pyproject.toml allows (ARGS=--upgrade) or those it newly names
	$(COMPILE) $(ARGS) --extra dev pyproject.toml -o requirements/dev.txt
	$(COMPILE) $(ARGS) --extra server --extra postgres --extra redis --extra otel -c requirements/dev.txt pyproject.toml -o requirements/server.txt
	$(PY) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' | \
		$(COMPILE) $(ARGS) -c requirements/dev.txt - -o requirements/build.txt

clean:  ## remove what was set up and cached here, but no data
	rm -rf .venv .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage .coverage.* dist
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

.venv: $(DEV)  ## set up all that the other targets need

$(SERVER): requirements/build.txt requirements/server.txt pyproject.toml tools/venv.sh
	@bash tools/venv.sh server

$(DEV): $(SERVER) requirements/dev.txt
	@bash tools/venv.sh dev

.PHONY: help up demo test check soak bench influxd stack dashboards docs lock clean
