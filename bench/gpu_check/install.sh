#!/usr/bin/env bash
# On the GPU machine, in the project's folder: bash bench/gpu_check/install.sh [arguments of python -m bench.gpu_check run]
#
# Once all pieces have arrived in .gpu_check/, installs them into .gpu_check/venv and runs the stages. The machine's own
# packages come after those of the pieces on sys.path: its PyTorch and CUDA are used, but our NumPy 1, which Triton needs.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$PWD/.gpu_check
venv=$work/venv

fail() {
    echo "gpu_check: $1" >&2
    exit 2
}

# Unpacks the pieces to .gpu_check/wheels and .gpu_check/python.
unpack() {
    local pieces=("$work"/*of*/) all
    [ -d "${pieces[0]}" ] || fail "there are no pieces in .gpu_check: make them with python -m bench.gpu_check prepare"
    all=$(basename "${pieces[0]}") all=${all#*of}
    if [ "${#pieces[@]}" -lt "$all" ]; then
        echo "gpu_check: ${#pieces[@]} of $all pieces have arrived; run this again when all are here"
        exit 0
    fi
    cat "$work"/*of*/packages.tar.gz.part >"$work/packages.tar.gz"
    (cd "$work" && sha256sum --quiet --check "${pieces[0]}SHA256SUMS") ||
        fail "some pieces are damaged, or of different preparations: copy all of them again"
    rm -rf "$work/wheels" "$work/python"
    tar -xzf "$work/packages.tar.gz" -C "$work"
    rm "$work/packages.tar.gz"
}

# Selects the machine's Python, or, if that has no shared library, which Triton's steps link, the one of the pieces.
choose_python() {
    local theirs=("$work"/python/bin/python3.*) version
    version=$(basename "${theirs[0]}") version=${version#python}
    python3 -c "import sys; sys.exit(sys.version.split('.')[:2] != '$version'.split('.'))" ||
        fail "the pieces are for Python $version, but python3 here is $(python3 -V): prepare with --python"
    python=python3
    if python3 -c 'from server.installation import find_libpython; find_libpython()' 2>/dev/null; then
        rm -r "$work/python"
    else
        echo "gpu_check: python3 has no shared library; using the Python of the pieces"
        python=${theirs[0]}
    fi
}

make_environment() {
    local site folder library
    rm -rf "$venv"
    "$python" -m venv --without-pip "$venv"
    python3 -m pip --python "$venv/bin/python" install --quiet --disable-pip-version-check --no-index --no-deps \
        --no-compile "$work"/wheels/*.whl
    site=$(echo "$venv"/lib/python3.*/site-packages)
    echo "$PWD/client" >"$site/zz_client.pth"
    python3 -c 'import sys; print(*(p for p in sys.path if p.endswith("-packages")), sep="\n")' >"$site/zz_machine.pth"
    # perf_analyzer links libb64: Triton's wheel has it under another name, and it is found beside the CUDA runtime.
    for library in "$site"/nvidia_pytriton.libs/libb64-*.so.0d; do
        [ ! -e "$library" ] || cp "$library" "$site/nvidia/cuda_runtime/lib/libb64.so.0d"
    done
    # ONNX Runtime looks for CUDA and cuDNN beside itself.
    mkdir -p "$site/nvidia"
    for folder in $(python3 -c 'import nvidia; print(*nvidia.__path__)' 2>/dev/null); do
        for library in "$folder"/*/; do
            [ -e "$site/nvidia/$(basename "$library")" ] || ln -s "${library%/}" "$site/nvidia/"
        done
    done
    touch "$venv/.made"
}

# The Python of the pieces finds its shared library only through this variable.
activate() {
    if [ -d "$work/python/lib" ]; then
        export LD_LIBRARY_PATH=$work/python/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    fi
}

unset PYTHONPATH
export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
if [ -e "$venv/.made" ]; then
    activate
else
    unpack
    choose_python
    activate
    make_environment
    rm -r "$work/wheels"
fi
exec "$venv/bin/python" -m bench.gpu_check run "$@"
