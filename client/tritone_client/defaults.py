"""Defaults that the clients, the commands and the web page share."""

URL = "127.0.0.1:8001"
"""Triton's gRPC port on this machine."""
METRICS_PORT = 8002
"""Triton's port for metrics, on the host of `URL`."""
MODEL = "vgg19_bn_cqt"
"""The system that `classify` asks."""
EMOTION_MODEL = "emotion2vec_plus_large"
"""The system that `emotion` asks."""
TOP_K = 5
"""Number of labels that `classify` ranks."""
TIMEOUT = 30.0
"""Seconds for a call, retries included."""
EVERY, WINDOW = 10.0, 30.0
"""Seconds from one answer about a stream to the next, and seconds of sound that each answer covers."""
IN_FLIGHT = 4
"""Recordings in flight at a time: enough to fill a batch, but little load on the server's queue."""
WEB_PORT = 7860
"""Port of the web page on 127.0.0.1."""
WEB_QUOTA_MB = 1024
"""Disk space for all uploads to the web page, in MB."""
