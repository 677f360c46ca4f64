"""Starts and supervises Triton: `python -m server` runs the tritonserver of a wheel, the Dockerfile an image.

`installation` finds the wheel's server and lays out its backends, `preflight` checks what will be served,
`variants` selects how the networks run (with `gpu`), `process` starts and stops tritonserver, `supervisor` keeps
it healthy, and `healthcheck` sends it a real recording. In the image, `entrypoint.sh` starts NVIDIA's tritonserver
with the flags that `choose` prints.
"""
