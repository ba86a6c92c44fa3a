PY ?= python3.11
# ruff, pyright, lint-imports are found without activation
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# here, not in conftest.py: pytest plug-ins import numpy before it
export OMP_NUM_THREADS = 1
export OPENBLAS_NUM_THREADS = 1
export MKL_NUM_THREADS = 1
.PHONY: run test check bench docs audit
.venv/.ok: Makefile pyproject.toml constraints.txt
	$(PY) -m venv .venv
	.venv/bin/pip install -q -c constraints.txt -e '.[run,torch,diffusers,encoder,docs,test]'
	touch $@
run: .venv/.ok
	python -m flows run
test: .venv/.ok
	python -m pytest
check: .venv/.ok
	pre-commit run --all-files
bench: .venv/.ok
	python -m pytest benchmarks -o python_files='bench_*.py' -o addopts=--import-mode=importlib --benchmark-columns=min,median,rounds -s
docs: .venv/.ok
	NO_MKDOCS_2_WARNING=1 python -m mkdocs build --strict -q
	@echo "docs    site/index.html"
# needs the network of the vulnerability database
audit: .venv/.ok
	.venv/bin/pip install -q pip-audit
	.venv/bin/pip-audit --disable-pip --no-deps -r constraints.txt
