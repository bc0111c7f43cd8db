#!/usr/bin/env bash
# Make a PYNQ board able to take part in jobs: jobs/provision.sh [USER@]BOARD [BITSTREAM...]
# Run on the head node, from the repository. It copies the runtime part of mpi_vta and the bitstreams to the board
# and installs what the image lacks. TVM, ONNX and models stay on the head node. A second call only updates.
# USER is root, or may use sudo without a password.
set -euo pipefail

(($# >= 1)) || { echo "usage: $0 [USER@]BOARD [BITSTREAM...]" >&2; exit 2; }
board=$1
shift
repository=$(cd "$(dirname "$0")/.." && pwd)
# PYNQ's Python with pynq in it, and where the package goes
venv=${MPI_VTA_BOARD_VENV:-/usr/local/share/pynq-venv}
target=${MPI_VTA_BOARD_TARGET:-/opt/mpi_vta}

for file in "$@"; do
    [[ -r $file ]] || { echo "$0: cannot read $file" >&2; exit 2; }
done

# shellcheck disable=SC2029 # target is the head node's to choose
ssh "$board" "sudo=; [ \$(id -u) = 0 ] || sudo='sudo -n'; \$sudo mkdir -p '$target/bitstreams' &&
    \$sudo chown -R \$(id -u) '$target'"
# shellcheck disable=SC2029
tar -C "$repository" -cz --exclude='__pycache__' mpi_vta hw | ssh "$board" "tar -C '$target' -xz"
for file in "$@"; do
    # the hardware description and the manifest travel with the bitstream
    for part in "$file" "${file%.*}.hwh" "${file%.*}.json"; do
        if [[ -r $part ]]; then scp -q "$part" "$board:$target/bitstreams/"; fi
    done
done

# shellcheck disable=SC2029
ssh "$board" "sudo=; [ \$(id -u) = 0 ] || sudo='sudo -n'; \$sudo env VENV='$venv' TARGET='$target' bash -euo pipefail -s" <<'ON_BOARD'
[[ -x $VENV/bin/python ]] || { echo "no Python in $VENV: set MPI_VTA_BOARD_VENV" >&2; exit 2; }
python=$VENV/bin/python
pip() { "$python" -m pip --disable-pip-version-check --quiet "$@"; }
packages=$("$python" -c 'import site; print(site.getsitepackages()[0])')
lacks() { ! "$python" -c "import $1" 2>/dev/null; }

if [[ $(uname -m) == armv7l ]]; then
    # no wheels for armv7l, and its mpich wheel is an empty placeholder: distribution packages, mpi4py from source;
    # rank 0 is a board too, so it draws the report
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        mpich libmpich-dev gcc python3-dev python3-h5py python3-matplotlib python3-pil
    if lacks mpi4py; then MPICC=mpicc.mpich pip install --no-binary mpi4py 'mpi4py>=4.0'; fi
    # the distribution's packages, in case the environment does not look outside
    if lacks h5py || lacks matplotlib || lacks PIL; then echo /usr/lib/python3/dist-packages > "$packages/distribution.pth"; fi
else
    pip install 'mpi4py>=4.0' 'mpich>=4.2' 'h5py>=3.9' 'matplotlib>=3.7' 'pillow>=10'
fi
pip install 'rich>=13'
if lacks tomllib; then pip install 'tomli>=2'; fi
echo "$TARGET" > "$packages/mpi_vta.pth"
"$python" -m mpi_vta.doctor --device pynq
ON_BOARD
