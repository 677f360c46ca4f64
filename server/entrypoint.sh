#!/bin/sh
# Entry point of the container: runs tritonserver with every system whose network has been exported.
# TRITONE_VARIANT selects how the networks run (or auto); all arguments are passed on to tritonserver.
set -eu

# Selects the systems, the configuration of their networks, and the runtime that answers report; logs the reason.
chosen=$(python3 -m server.choose)
flags=$(echo "$chosen" | grep '^--')
TRITONE_COMPUTED=$(echo "$chosen" | grep -v '^--')
export TRITONE_COMPUTED

# Loading a model runs code, so no client may do it, even on loopback: any web page can post to 127.0.0.1.
closed="model-repository,shared-memory,logging,trace:tritone-key=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"

# The steps run in parallel, so each uses one thread; the networks set their own number of threads.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" OPENBLAS_NUM_THREADS="${OPENBLAS_NUM_THREADS:-1}"

# Word splitting is safe: no system and no variant has a space in its name.
# shellcheck disable=SC2086
exec tritonserver \
    $flags \
    "--http-restricted-api=$closed" \
    "--grpc-restricted-protocol=$closed" \
    --model-control-mode=explicit \
    --disable-auto-complete-config \
    --strict-readiness=true \
    --grpc-infer-allocation-pool-size=0 \
    --exit-timeout-secs=20 \
    "$@"
