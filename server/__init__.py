"""Starts and watches Triton: `python -m server` runs the tritonserver of a wheel, the Dockerfile makes an image.

`installation` finds the wheel's server and lays out its backends, `preflight` checks what is to be served,
`variants` chooses how the networks run (with `gpu`), `process` starts and stops tritonserver, `supervisor` keeps
it whole, `healthcheck` asks it for a real answer. In the image, `entrypoint.sh` starts NVIDIA's tritonserver with
the flags that `choose` prints.
"""
