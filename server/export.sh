#!/bin/sh
# What the service `export` of docker-compose.yml runs: weights -> ONNX -> FP16 -> TensorRT plans, in the image that
# serves them. Arguments: names of systems, none for all, and --force; or one of the commands of python -m export.
set -eu

case "${1:-}" in
    onnx|fp16|int8|explain|tensorrt|tensorrt_rtx) exec python3 -m export "$@" ;;
esac
python3 -m export "$@"
exec python3 -m export tensorrt "$@"  # which makes the FP16 networks first
