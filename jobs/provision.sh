#!/usr/bin/env bash
# Make a PYNQ board able to take part in jobs: jobs/provision.sh [USER@]BOARD [BITSTREAM...]
# Run on the head node, from the repository. It copies the runtime part of mpi_vta and the bitstreams to the board,
# installs what the image lacks, and ends with the selftest on the first bitstream. The board needs no internet: wheels
# are fetched here, its distribution's packages come through this host. A second call only updates.
# USER is root, or may use sudo without a password. PIP is the pip that fetches, MPI_VTA_SSH the ssh with its options,
# MPI_VTA_BOARD the board file, for images that do not name their board.
set -euo pipefail

(($# >= 1)) || { echo "usage: $0 [USER@]BOARD [BITSTREAM...]" >&2; exit 2; }
board=$1
shift
repository=$(cd "$(dirname "$0")/.." && pwd)
# PYNQ's Python with pynq in it, and where the package goes
venv=${MPI_VTA_BOARD_VENV:-/usr/local/share/pynq-venv}
target=${MPI_VTA_BOARD_TARGET:-/opt/mpi_vta}
read -ra remote <<<"${MPI_VTA_SSH:-ssh}"
read -ra fetch <<<"${PIP:-python3 -m pip}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for file in "$@"; do
    [[ -r $file ]] || { echo "$0: cannot read $file" >&2; exit 2; }
done
on_board() { "${remote[@]}" "$board" "$@"; }

# shellcheck disable=SC2016 # the board's own values
facts=$(on_board "[ -x '$venv/bin/python' ] || { echo 'no Python in $venv: set MPI_VTA_BOARD_VENV' >&2; exit 2; }
    uname -m; '$venv/bin/python' -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'")
read -r -d '' machine python_version <<<"$facts" || true

echo "$board: $machine, Python $python_version"
on_board "sudo=; [ \$(id -u) = 0 ] || sudo='sudo -n'; \$sudo mkdir -p '$target/bitstreams' &&
    \$sudo chown -R \$(id -u) '$target'"
tar -C "$repository" -cz --exclude='__pycache__' mpi_vta hw | on_board "tar -C '$target' -xz"
for file in "$@"; do
    # the hardware description and the manifest travel with the bitstream
    for part in "$file" "${file%.*}.hwh" "${file%.*}.json"; do
        if [[ -r $part ]]; then tar -C "$(dirname "$part")" -c "$(basename "$part")" | on_board "tar -C '$target/bitstreams' -x"; fi
    done
done

pip_download() { "${fetch[@]}" --disable-pip-version-check --quiet download --dest "$work/wheels" "$@"; }
mkdir "$work/wheels"
pure=('rich>=13')
if [[ $python_version == 3.10 ]]; then pure+=('tomli>=2'); fi
if [[ $machine == armv7l ]]; then
    # no wheels for armv7l, and its mpich wheel is an empty placeholder: mpi4py from source, turned into C here, as that
    # takes the board longer than compiling it
    pip_download --no-deps --no-binary mpi4py 'mpi4py>=4.0'
    "${fetch[@]}" --disable-pip-version-check --quiet download --dest "$work" --no-deps --only-binary :all: --platform any \
        'cython>=3.0.1'
    python3 -m zipfile -e "$work"/cython-*.whl "$work/cython"
    source=$(basename "$work"/wheels/mpi4py-*.tar.gz .tar.gz)
    tar -C "$work" -xzf "$work/wheels/$source.tar.gz"
    (cd "$work/$source" && PYTHONPATH=$work/cython python3 conf/cythonize.py)
    tar -C "$work" -czf "$work/wheels/$source.tar.gz" "$source"
    pip_download --only-binary :all: --python-version "$python_version" "${pure[@]}" 'setuptools>=77' wheel
else
    # pip takes a tag for itself alone, and wheels carry those of the oldest C library that they run on
    platforms=(--platform "manylinux1_$machine" --platform "manylinux2010_$machine" --platform "manylinux2014_$machine")
    for minor in {5..35}; do platforms+=(--platform "manylinux_2_${minor}_$machine"); done
    pip_download --only-binary :all: --python-version "$python_version" "${platforms[@]}" \
        'mpi4py>=4.0' 'mpich>=4.2' 'h5py>=3.10' 'matplotlib>=3.7' 'pillow>=10' 'numpy<2' "${pure[@]}"
fi
tar -C "$work" -c wheels | on_board "rm -rf '$target/wheels'; tar -C '$target' -x"

# what apt fetches goes through this host: a proxy on the board's own loopback that ends here
tunnel=()
if [[ $machine == armv7l ]]; then tunnel=(-R 127.0.0.1:3142); fi
first=${1:+$target/bitstreams/$(basename "${1:-}")}
"${remote[@]}" "${tunnel[@]}" "$board" "sudo=; [ \$(id -u) = 0 ] || sudo='sudo -n'; \$sudo env VENV='$venv' \
    TARGET='$target' BITSTREAM='$first' BOARD_FILE='${MPI_VTA_BOARD:-}' bash -euo pipefail -s" <<'ON_BOARD'
python=$VENV/bin/python
pip() { "$python" -m pip --disable-pip-version-check --quiet install --no-index --find-links "$TARGET/wheels" "$@"; }
packages=$("$python" -c 'import site; print(site.getsitepackages()[0])')
lacks() { ! "$python" -c "import $1" 2>/dev/null; }

if [[ $(uname -m) == armv7l ]]; then
    # rank 0 is a board too, so it draws the report
    wanted=(mpich libmpich-dev gcc python3-dev python3-h5py python3-matplotlib python3-numpy python3-pil)
    missing=()
    for name in "${wanted[@]}"; do
        dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
    done
    if ((${#missing[@]})); then
        through=(-o Acquire::http::Proxy=socks5h://127.0.0.1:3142 -o Acquire::https::Proxy=socks5h://127.0.0.1:3142)
        apt-get "${through[@]}" update -qq
        DEBIAN_FRONTEND=noninteractive apt-get "${through[@]}" install -y -qq --no-install-recommends "${missing[@]}"
    fi
    pip 'setuptools>=77' wheel
    if lacks mpi4py; then
        # one C file of 13 MB, which takes the compiler minutes even so; optimised, many times that
        CFLAGS='-O0 -g0' MPICC=mpicc.mpich pip --no-build-isolation --no-binary mpi4py 'mpi4py>=4.0'
    fi
    # the distribution's packages, in case the environment does not look outside
    if lacks h5py || lacks matplotlib || lacks PIL; then echo /usr/lib/python3/dist-packages > "$packages/distribution.pth"; fi
else
    pip 'mpi4py>=4.0' 'mpich>=4.2' 'h5py>=3.10' 'matplotlib>=3.7' 'pillow>=10'
fi
pip 'rich>=13'
if lacks tomllib; then pip 'tomli>=2'; fi
echo "$TARGET" > "$packages/mpi_vta.pth"
cd "$TARGET"
if [[ -n $BITSTREAM ]]; then
    "$python" -m mpi_vta.doctor --selftest --device pynq --bitstream "$BITSTREAM" --board "$BOARD_FILE"
else
    "$python" -m mpi_vta.doctor --device pynq
fi
ON_BOARD
