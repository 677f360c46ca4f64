#!/bin/sh
# Entry point of the container: tritonserver with every system whose network has been exported.
# TRITONE_VARIANT names how the networks run, or auto; further arguments are passed on to tritonserver.
set -eu

# Which systems and which configuration of their networks, and what the answers say of that; says why, or why not.
chosen=$(python3 -m server.choose)
flags=$(echo "$chosen" | grep '^--')
TRITONE_COMPUTED=$(echo "$chosen" | grep -v '^--')
export TRITONE_COMPUTED

# Loading models is running code: nobody may, on loopback either, since any web page can post to it.
closed="model-repository,shared-memory,logging,trace:tritone-key=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"

# The steps run side by side and keep to one thread each; the networks count their own.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" OPENBLAS_NUM_THREADS="${OPENBLAS_NUM_THREADS:-1}"

# A flag a line: no system and no variant has a blank in its name.
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
