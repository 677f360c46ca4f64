#!/bin/sh
# What the service `export` of docker-compose.yml runs: weights -> ONNX -> FP16 -> TensorRT plans, in the image that
# serves them. Arguments: names of systems, none for all, and --force.
set -eu

python3 -m export "$@"
exec python3 -m export.tensorrt "$@"  # which makes the FP16 networks first
