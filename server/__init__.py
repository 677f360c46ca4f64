"""Starts and watches Triton: `python -m server` runs the tritonserver of a wheel, the Dockerfile makes an image.

`installation` finds the wheel's server and lays out its backends, `variants` chooses how the networks run,
`process` starts and stops tritonserver, `supervisor` keeps it whole, `healthcheck` asks it for a real answer.
"""
