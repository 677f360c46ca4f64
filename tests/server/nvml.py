"""A driver's libnvidia-ml.so.1 that knows of one GPU, for the real nvidia-ml-py to load."""

import subprocess
from pathlib import Path

UUID = "GPU-11111111-2222-3333-4444-555555555555"
SOURCE = r"""
#include <string.h>
typedef struct { unsigned long long total, free, used; } Memory;
int nvmlInitWithFlags(unsigned flags) { return 0; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return "an error"; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { *device = "H200"; return index ? 6 : 0; }
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    *device = "H200";
    return strcmp(uuid, "%s") ? 6 : 0;
}
int nvmlDeviceGetName(void *device, char *name, unsigned size) { strcpy(name, "NVIDIA H200"); return 0; }
int nvmlDeviceGetCudaComputeCapability(void *device, int *a, int *b) { *a = 9; *b = 0; return 0; }
int nvmlDeviceGetMemoryInfo(void *device, Memory *memory) { memory->total = 150754820096ull; return 0; }
int nvmlSystemGetDriverVersion(char *version, unsigned size) { strcpy(version, "580.65.06"); return 0; }
"""


def build(folder: Path) -> Path:
    """Compile it; the folder, for LD_LIBRARY_PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-o", folder / "libnvidia-ml.so.1", "-"]
    subprocess.run(command, input=SOURCE.replace("%s", UUID), text=True, check=True)
    return folder
