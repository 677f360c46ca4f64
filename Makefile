# Everything a newcomer needs: `make demo`, then `make test`. Nothing has to be installed or activated before.
#
#   make demo SONG=my.mp3                          tags of your own song
#   make export CHECKPOINTS=dir                    your own weights instead of the demo weights
#   make export SYSTEMS=vgg19_bn_cqt               only this system

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Of the systems that were named, or of all, those that a command of the export can work on; none is an error.
able = $(or $(shell $(BIN)/python -m systems --able $(1) $(SYSTEMS)),$(error make $@ cannot work on $(SYSTEMS)))
export CHECKPOINTS SONG
SERVE := $(addprefix requirements/,serve.txt container.txt steps.txt triton.txt client.txt)
EXPORT := requirements/export.txt requirements/weights.txt
WEB := requirements/web.txt
TEST := requirements/test.txt requirements/bench.txt
AUDIT := .cache/audit
PIP_AUDIT := pip-audit==2.10.1
GPU := $(wildcard $(VENV)/.gpu)

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-gpu export int8 explain fp16 tensorrt tensorrt_rtx gpu serve web bench evaluate evaluate-music tune lint lock audit clean

help: ## Show this list
	@grep -hE '^[a-z0-9_-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.export ## Start Triton, classify an MP3, print the answers, stop (SONG=my.mp3 for your own; no GPU, no accounts)
	@$(BIN)/python -m export $(if $(SONG),musicnn_msd) musicnn_mtt vgg19_bn_cqt
	@$(BIN)/python -m demo $(if $(SONG),"$$SONG")

export: $(VENV)/.export $(GPU) ## Weights -> ONNX (CHECKPOINTS=dir for yours; else demo weights, but for musicnn); with an NVIDIA GPU also TensorRT
	@$(BIN)/python -m export $(SYSTEMS)
	@$(BIN)/python -m export tensorrt --if-possible $(SYSTEMS)

int8: $(VENV)/.export ## INT8 networks of the exported ones, for CPUs: make int8, then VARIANT=openvino_int8 make serve
	@$(BIN)/python -m export $(call able,int8)
	@$(BIN)/python -m export int8 $(call able,int8)

explain: $(VENV)/.export ## Networks for the option explain, which shows what in a picture spoke for the answer; then make serve
	@$(BIN)/python -m export $(call able,explain)
	@$(BIN)/python -m export explain $(call able,explain)

fp16: $(VENV)/.export $(GPU) ## FP16 networks of the exported ones, for GPUs
	@$(BIN)/python -m export $(SYSTEMS)
	@$(BIN)/python -m export fp16 $(SYSTEMS)

tensorrt: $(VENV)/.export $(GPU) ## TensorRT plans of the exported networks for this machine's GPU (PRECISION=fp16, int8 or fp32)
	@$(BIN)/python -m export $(SYSTEMS)
	@$(BIN)/python -m export tensorrt $(SYSTEMS)

tensorrt_rtx: $(VENV)/.rtx $(GPU) ## Plans for NVIDIA's RTX cards, also on a machine without one (TURING=1 for GeForce 16 and 20)
	@$(BIN)/python -m export $(SYSTEMS)
	@$(BIN)/python -m export tensorrt_rtx $(if $(TURING),--turing) $(SYSTEMS)

gpu: $(VENV)/.test ## Install what an NVIDIA GPU needs, as far as it can be had: ONNX Runtime with CUDA, TensorRT-RTX, TensorRT
	@$(BIN)/python -m requirements.gpu
	@touch $(VENV)/.gpu

serve: $(VENV)/.serve $(GPU) ## Start the embedded Triton on 127.0.0.1:8000 (HTTP), 8001 (gRPC), 8002 (metrics) (VARIANT=...)
	@$(BIN)/python -m server $(if $(VARIANT),--variant=$(VARIANT))

web: $(VENV)/.web ## A page for recordings on http://127.0.0.1:7860, while make serve runs (URL=host:port of the server)
	@$(BIN)/python -m sounds.examples .cache/examples
	@$(BIN)/tritone web --examples=.cache/examples $(if $(URL),--url=$(URL))

bench: $(VENV)/.test $(GPU) ## Tritone beside the articles' pipelines and a plain Triton (VARIANT=..., QUICK=1, DEVICE=cuda)
	@$(BIN)/python -m export vgg19_bn_cqt $(if $(QUICK),,vit_b_16_mel musicnn_msd emotion2vec_plus_large)
ifeq ($(DEVICE),cuda)
	@$(BIN)/python -m export tensorrt --if-possible vgg19_bn_cqt $(if $(QUICK),,vit_b_16_mel)
else
	@$(if $(QUICK),,$(BIN)/python -m export int8 vgg19_bn_cqt)
endif
	@$(BIN)/python -m bench

evaluate: $(VENV)/.test ## What each option gains or loses on generated recordings, and what it costs (VARIANT=..., QUICK=1)
	@$(BIN)/python -m export vgg19_bn_cqt vit_b_16_mel
	@$(BIN)/python -m bench.evaluation
	@$(BIN)/python -m bench.options

evaluate-music: $(VENV)/.test ## What disturbs the tags of real music, and what options bring back (MUSIC=folder)
	@$(BIN)/python -m export musicnn_msd musicnn_mtt
	@$(if $(MUSIC),,$(BIN)/python -m bench.music)
	@$(BIN)/python -m bench.tags $(if $(MUSIC),--music=$(MUSIC))

tune: $(VENV)/.test ## Find the fastest settings for this machine; make serve uses them (SYSTEM=..., VARIANT=..., QUICK=1)
	@$(BIN)/python -m tuning

test: $(VENV)/.test lint ## Everything that can be tested on this machine
	@$(BIN)/python -m pytest -m "not slow and not gpu"

test-slow: $(VENV)/.test ## The tests that take minutes
	@$(BIN)/python -m pytest -m "slow and not gpu"

test-gpu: $(VENV)/.test $(GPU) ## The tests that need an NVIDIA GPU
	@$(BIN)/python -m pytest -m gpu

lint: $(VENV)/.lint ## Check style, types and generated files (installs ruff and mypy, not PyTorch or Triton)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m systems --check

lock: $(VENV)/.test ## Pin what requirements/*.txt bring along, with hashes for the images (needs python3.10, 3.11 and 3.12)
	@$(BIN)/python -m requirements.lock

audit: $(AUDIT)/.done $(VENV)/.test ## List outdated packages and pins with known vulnerabilities; changes nothing
	@$(AUDIT)/bin/python -m requirements.audit "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

clean: ## Remove what can be made again (weights, caches, the virtual environment)
	rm -rf $(VENV) .cache checkpoints/demo checkpoints/converted bench/results
	git clean -fdXq model_repository

# The stamps below are newer than the requirements that they stand for. Triton comes without its wheel's
# dependencies: only the server inside is used.
$(VENV)/.serve: $(SERVE) client/pyproject.toml client/tritone_client/version.py
	@$(PYTHON) -c "import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 12) else \
	  'Python %d.%d cannot be used: choose 3.10, 3.11 or 3.12 with make PYTHON=python3.11 ...' % v)"
	@echo "Installing the server and the client into $(VENV) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install -q --no-deps -r requirements/triton.txt
	@$(PIP) install -q -c requirements/constraints.txt -r requirements/serve.txt -r requirements/client.txt
	@$(PIP) install -q --no-deps -e client
	@touch $@

$(VENV)/.web: $(VENV)/.serve $(WEB)
	@echo "Installing what the web page needs into $(VENV) ..."
	@$(PIP) install -q -c requirements/constraints.txt -r requirements/serve.txt -r $(WEB)
	@touch $@

$(VENV)/.export: $(VENV)/.serve $(EXPORT)
	@echo "Installing what the export needs (PyTorch) into $(VENV) ..."
	@$(PIP) install -q --no-deps -r requirements/weights.txt
	@$(PIP) install -q -c requirements/constraints.txt -r requirements/export.txt
	@touch $@

$(VENV)/.rtx: $(VENV)/.export requirements/rtx.txt
	@echo "Installing TensorRT-RTX into $(VENV) ..."
	@$(PIP) install -q --no-deps -r requirements/rtx.txt
	@touch $@

$(VENV)/.test: $(VENV)/.rtx $(TEST) $(WEB)
	@echo "Installing what the tests and benchmarks need into $(VENV) ..."
	@$(PIP) install -q -c requirements/constraints.txt -r requirements/test.txt
	@touch $@

$(VENV)/.lint: requirements/lint.txt
	@echo "Installing what the checks of the code need into $(VENV) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install -q -c requirements/constraints.txt -r requirements/lint.txt
	@touch $@

# pip-audit has requirements of its own, which are not to meet ours.
$(AUDIT)/.done: Makefile
	@echo "Installing $(PIP_AUDIT) into $(AUDIT) ..."
	@$(PYTHON) -m venv $(AUDIT)
	@$(AUDIT)/bin/python -m pip --disable-pip-version-check install -q $(PIP_AUDIT)
	@touch $@

# It brings ONNX Runtime with CUDA in the place of the one for CPUs, which everything above would bring back: so last.
$(VENV)/.gpu: $(VENV)/.test $(addprefix requirements/,gpu.txt plan.txt rtx.txt tensorrt.txt)
	@$(BIN)/python -m requirements.gpu
	@touch $@
