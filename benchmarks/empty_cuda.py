"""Libraries with the names of CUDA's that compute nothing: with them ONNX Runtime's real CUDA provider starts anywhere.

It then decides for every operator of a model whether it has a kernel for it, as it does on a GPU. Nothing can be run.
"""

import re
import subprocess
from collections import defaultdict
from pathlib import Path

OF_CUDART = """
#include <stdlib.h>
#include <string.h>
enum { COMPUTE_MAJOR = 75, COMPUTE_MINOR = 76 };  // of cudaDeviceAttr (CUDA runtime API)
#define ROOM(bytes) aligned_alloc(256, ((bytes) + 255) / 256 * 256)
int cudaMalloc(void **to, size_t bytes) { *to = ROOM(bytes); return 0; }
int cudaMallocHost(void **to, size_t bytes) { *to = ROOM(bytes); return 0; }
int cudaHostAlloc(void **to, size_t bytes, unsigned flags) { *to = ROOM(bytes); return 0; }
int cudaMallocFromPoolAsync(void **to, size_t bytes, void *pool, void *stream) { *to = ROOM(bytes); return 0; }
int cudaFree(void *it) { free(it); return 0; }
int cudaFreeHost(void *it) { free(it); return 0; }
int cudaFreeAsync(void *it, void *stream) { free(it); return 0; }
int cudaMemcpy(void *to, const void *from, size_t bytes, int kind) { memcpy(to, from, bytes); return 0; }
int cudaMemcpyAsync(void *to, const void *from, size_t bytes, int kind, void *stream)
  { memcpy(to, from, bytes); return 0; }
int cudaMemGetInfo(size_t *free_bytes, size_t *bytes) { *free_bytes = *bytes = (size_t)1 << 37; return 0; }
int cudaGetDevice(int *number) { *number = 0; return 0; }
int cudaGetDeviceCount(int *count) { *count = 1; return 0; }
int cudaRuntimeGetVersion(int *version) { *version = 13000; return 0; }
int cudaDriverGetVersion(int *version) { *version = 13000; return 0; }
int cudaStreamCreateWithFlags(void **stream, unsigned flags) { *stream = malloc(8); return 0; }
int cudaDeviceGetAttribute(int *value, int attribute, int device)
  { *value = attribute == COMPUTE_MAJOR ? 9 : attribute == COMPUTE_MINOR ? 0 : 132; return 0; }
int cudaGetDeviceProperties(char *properties, int device)
  { memset(properties, 0, 1008); *(int *)(properties + 360) = 9; return 0; }
const char *cudaGetErrorName(int error) { return "none"; }
const char *cudaGetErrorString(int error) { return "there is no GPU"; }
"""
"""What the provider asks for when it starts: memory, and a device of compute capability 9.0."""


DRIVER = "libcuda.so.1"
LOADED = {"libcudnn.so.9": {"cudnnCreate", "cudnnDestroy", "cudnnSetStream"}}
"""What the provider does not name, but loads when it starts."""


def wanted_of(library: Path) -> dict[str, set[str]]:
    """Return the functions that a library wants from others, by the name of the other: those of CUDA alone."""
    listed = subprocess.run(["nm", "-D", "--undefined-only", library], capture_output=True, text=True, check=True)
    found: dict[str, set[str]] = defaultdict(set, LOADED)
    for line in listed.stdout.splitlines():
        name, _, version = line.split()[-1].partition("@")
        if version.startswith("libcu"):
            found[version].add(name)
        elif re.match("cu[A-Z]", name) and not version:
            found[DRIVER].add(name)
    return found


def write_empty(provider: Path, folder: Path) -> None:
    """Compile the libraries that a provider wants.

    Args:
        provider: ``libonnxruntime_providers_cuda.so``.
        folder: where they go, for ``LD_LIBRARY_PATH``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = wanted_of(provider)
    needed = subprocess.run(["readelf", "-d", provider], capture_output=True, text=True, check=True).stdout
    for line in needed.splitlines():
        if "(NEEDED)" in line and "[libcu" in line:
            wanted.setdefault(line.rpartition("[")[2].rstrip("]"), set())
    for name, functions in wanted.items():
        own = OF_CUDART if name.startswith("libcudart.") else ""
        empty = [
            f"int {one}(void) {{ return 0; }}" for one in sorted(functions) if f" {one}(" not in own.replace("*", " ")
        ]
        source = folder / f"{name}.c"
        source.write_text(own + "\n".join(empty) + "\n")
        script = folder / f"{name}.map"
        script.write_text(f"{name} {{ global: *; }};\n")
        command = ["gcc", "-w", "-shared", "-fPIC", "-o", folder / name, source]
        subprocess.run([*command, f"-Wl,--version-script={script}", f"-Wl,-soname,{name}"], check=True)
