#!/bin/sh
# Entry point of the container: tritonserver with every system in /models whose network has been exported.
# TRITONE_VARIANT names the configuration of the networks; further arguments are passed on to tritonserver.
set -eu

for manifest in /models/*_network/1/manifest.json; do
    if [ ! -e "$manifest" ]; then
        echo "tritone: no system in /models has a network: run make export" >&2
        exit 2
    fi
    network=${manifest%/1/manifest.json}
    network=${network##*/}
    # The front ensemble brings its steps along.
    set -- "$@" "--load-model=${network%_network}_raw"
done

# Loading models is running code: nobody may, on loopback either, since any web page can post to it.
closed="model-repository,shared-memory,logging,trace:tritone-key=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"

exec tritonserver \
    "--http-restricted-api=$closed" \
    "--grpc-restricted-protocol=$closed" \
    --model-repository=/models \
    --model-config-name="${TRITONE_VARIANT:-onnxruntime}" \
    --model-control-mode=explicit \
    --disable-auto-complete-config \
    --strict-readiness=true \
    --exit-timeout-secs=20 \
    "$@"
