# A target installs everything that it needs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUN    := $(BIN)/python -m afterkernel
SWEEP  ?= demo
DIR    ?= runs/$(SWEEP)

.DEFAULT_GOAL := help
.PHONY: help install demo paper paper-plan paper-pages test test-browser test-slurm test-ray test-docs test-wheel wheel soak check docs docs-serve sweep report dashboard wandb-sync bench bench-peers gallery clean

help:  ## print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | awk -F'|' '{printf "make %-12s %s\n", $$1, $$2}'

install: $(VENV)/.installed  ## make the environment in .venv and install the package with its tools

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "afterkernel needs Python 3.11 to 3.13; name one with make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "installing torch and the rest into $(VENV): about 6 GB, several minutes"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@$(BIN)/python -m compileall -q afterkernel  # starts would compile where PYTHONDONTWRITEBYTECODE is set
	@$(RUN) --help > /dev/null  # writes the cache with which later help is fast
	@touch $@

demo: install  ## sweep vgg and mlp over learning rates on 8x8 digits, then report; OPEN=1 shows the page
	$(RUN) +sweep=demo $(ARGS)
	$(RUN) report $(DIR) $(if $(OPEN),--open)

test: install  ## run all tests that need no SLURM, Ray, browser or GPU, on every core
	$(BIN)/python -m pytest -n auto --dist worksteal

test-slurm: install  ## run the tests of launcher=slurm on a one-node SLURM cluster on loopback
	@PATH="$$PATH:/usr/sbin"; { command -v slurmctld && command -v munged; } >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null; } || \
	  { echo "make test-slurm needs SLURM and munge: apt-get install slurm-wlm munge (as root)" >&2; exit 1; }
	tests/slurm/cluster.sh $(BIN)/python -m pytest tests/launchers -m slurm

test-ray: .venv-ray/.installed  ## run the tests of launcher=ray on a local Ray cluster, in an environment of its own
	tests/ray/cluster.sh .venv-ray/bin .venv-ray/bin/python -m pytest tests/launchers -m ray

# An environment sees the packages of .venv and adds those of one extra, so that torch is there once.
.venv-%/.installed: $(VENV)/.installed
	$(BIN)/python -m venv .venv-$*
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > \
	  "$$(.venv-$*/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/of_venv.pth"
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$*]'
	@touch $@

wheel: install  ## build the wheel and the source distribution, in dist/
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist

# BORROW=1 takes the dependencies from .venv, for a test without downloads.
test-wheel: wheel  ## install the wheel in a new environment with pip and run its demo in an empty folder; ARGS as for demo
	tests/wheel/run.sh dist/*.whl $(PYTHON) \
	  $(if $(BORROW),"$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')") -- $(ARGS)

soak: install  ## kill and pause small sweeps at random moments, 60 times with one process and 60 with two: about an hour
	$(BIN)/python tests/soak.py $(ARGS)

test-browser: install  ## the report in headless Chromium; on Debian, as root, installs what is missing
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver; \
	  else echo "make test-browser needs chromium and chromedriver (Debian: chromium, chromium-driver)" >&2; exit 1; fi; }
	$(BIN)/python -m pytest -m browser

check: install  ## lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What MkDocs warns of, such as a link to a heading that does not exist, is an error.
docs: .venv-docs/.installed  ## build the documentation as a site in site/, and check its links
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/python -m mkdocs build --strict --quiet

test-docs: .venv-docs/.installed  ## run the tests of the site's hooks, in its environment
	.venv-docs/bin/python -m pytest tests/docs/test_docs_site.py

docs-serve: .venv-docs/.installed  ## show the site at http://127.0.0.1:8000, built again after each change
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/python -m mkdocs serve $(ARGS)

sweep: install  ## run sweeps/NAME.yaml: make sweep SWEEP=NAME [ARGS="dataset.root=DIR ..."]
	$(RUN) +sweep=$(SWEEP) $(ARGS)

report: install  ## tables, figures and one HTML page of a sweep: make report SWEEP=NAME, or DIR=FOLDER; OPEN=1 shows it
	$(RUN) report $(DIR) $(if $(OPEN),--open)

# One experiment: $(1) its name, $(2) its folder of results, $(3) its sweeps. What its records hold is not run again.
recorded = $(if $(wildcard $(1)/records.parquet),sweep.recorded=$(1)/records.parquet)
define experiment
	for part in $(3); do $(RUN) +sweep=$$part $(call recorded,$(2)) $(ARGS) || exit 1; done
	mkdir -p $(2)
	if [ -d runs/$(1) ]; then $(RUN) results runs/$(1) --export $(2)/records.parquet; fi
	$(RUN) report $(2)/records.parquet --format markdown --output $(2)

endef
define plan
	@for part in $(3); do echo "$$part:"; \
	  table=$$($(RUN) +sweep=$$part sweep.dry_run=true $(call recorded,$(2)) $(ARGS)) || exit 1; echo "$$table" | tail -n 2; done

endef
RESULTS := docs/results
each = $(call $(1),paper,$(RESULTS),paper paper_slow paper_augmented paper_cifar_mlp) \
	$(call $(1),classifiers,$(RESULTS)/classifiers,paper_classifiers paper_classifiers_vgg) \
	$(call $(1),resnet,$(RESULTS)/resnet,paper_resnet) \
	$(call $(1),ten_classes_mnist,$(RESULTS)/ten_classes,paper_ten_classes)

paper: install  ## the paper's experiments and those beyond it: make paper ARGS="dataset.root=DIR ..."; continues where it stopped
	$(call each,experiment)

paper-plan: install  ## how long make paper takes here, for the same ARGS
	$(call each,plan)

paper-pages: install  ## write the pages of docs/results again from their records
	for records in $(wildcard $(RESULTS)/records.parquet $(RESULTS)/*/records.parquet); do \
	  $(RUN) report $$records --format markdown --output $$(dirname $$records) || exit 1; done

dashboard: install  ## the same for W&B, as code: make dashboard SWEEP=NAME, or DIR=FOLDER; ARGS=--upload saves it there
	$(RUN) dashboard $(DIR) $(ARGS)

wandb-sync: install  ## upload what W&B wrote offline: make wandb-sync SWEEP=NAME, or DIR=FOLDER
	$(RUN) wandb-sync $(DIR)

gallery: .venv-families/.installed  ## run examples/, draw their pictures and write docs/gallery.md; ARGS="NAME ..." for some pictures
	.venv-families/bin/python tests/examples/gallery_page.py $(ARGS)

bench: install  ## time and memory of the kernels, compared with other packages and the machine's limit
	$(BIN)/python benchmarks/kernels.py

bench-peers: .venv-peers/.installed  ## the same with Opacus, BackPACK, nngeometry and others, in an environment of its own
	.venv-peers/bin/python benchmarks/kernels.py $(ARGS)

clean:  ## remove the environment and caches; runs/ stays
	rm -rf $(VENV) .venv-ray .venv-peers .venv-docs .venv-families site build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
