#!/usr/bin/env bash
# On the GPU machine, in the project's folder: bash bench/gpu_check/install.sh [words of python -m bench.gpu_check run]
#
# Once all pieces of .gpu_check/ have come, makes .gpu_check/venv of them, and goes through the stages. The machine's
# own packages lie behind those of the pieces: its PyTorch and CUDA are used, but NumPy 1, which Triton needs, is ours.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$PWD/.gpu_check
venv=$work/venv

fail() {
    echo "gpu_check: $1" >&2
    exit 2
}

# What the pieces hold together: .gpu_check/wheels and .gpu_check/python.
unpack() {
    local pieces=("$work"/*of*/) all
    [ -d "${pieces[0]}" ] || fail "there are no pieces in .gpu_check: make them with python -m bench.gpu_check prepare"
    all=$(basename "${pieces[0]}") all=${all#*of}
    if [ "${#pieces[@]}" -lt "$all" ]; then
        echo "gpu_check: ${#pieces[@]} of $all pieces are here; nothing is done before all have come"
        exit 0
    fi
    cat "$work"/*of*/packages.tar.gz.part >"$work/packages.tar.gz"
    (cd "$work" && sha256sum --quiet --check "${pieces[0]}SHA256SUMS") ||
        fail "pieces are damaged, or of two preparations: let all of them come again"
    rm -rf "$work/wheels" "$work/python"
    tar -xzf "$work/packages.tar.gz" -C "$work"
    rm "$work/packages.tar.gz"
}

# Of the machine, or where that has no shared library, which Triton's steps link, the one that came along.
choose_python() {
    local theirs=("$work"/python/bin/python3.*) version
    version=$(basename "${theirs[0]}") version=${version#python}
    python3 -c "import sys; sys.exit(sys.version.split('.')[:2] != '$version'.split('.'))" ||
        fail "the pieces are for Python $version, and python3 here is $(python3 -V): prepare with --python"
    python=python3
    if python3 -c 'from server.installation import find_libpython; find_libpython()' 2>/dev/null; then
        rm -r "$work/python"
    else
        echo "gpu_check: python3 has no shared library; the Python that came along is taken"
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
    # perf_analyzer links libb64, which comes with Triton under another name, and finds it beside its CUDA runtime.
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

# A Python that came along finds its shared library nowhere else.
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
