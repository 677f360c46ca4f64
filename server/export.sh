#!/bin/sh
# Runs as the service `export` of docker-compose.yml: weights -> ONNX -> FP16 -> TensorRT plans, in the image that
# serves them. Arguments: names of systems (default: all) and --force; or a command of python -m export.
set -eu

case "${1:-}" in
    onnx|fp16|int8|explain|tensorrt|tensorrt_rtx) exec python3 -m export "$@" ;;
esac
python3 -m export "$@"
exec python3 -m export tensorrt "$@"  # converts to FP16 first
