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
"""How many labels `classify` ranks."""
TIMEOUT = 30.0
"""Seconds for a call, retries included."""
EVERY, WINDOW = 10.0, 30.0
"""Seconds from one answer about a stream to the next, and seconds of sound that each answer covers."""
IN_FLIGHT = 4
"""Recordings that a command sends at once: enough to fill a batch, little load on the server's queue."""
WEB_PORT = 7860
"""Port of the web page on 127.0.0.1."""
WEB_QUOTA_MB = 1024
"""Disk that all uploads to the web page may take, MB."""
