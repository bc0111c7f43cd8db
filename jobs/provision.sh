#!/usr/bin/env bash
# Make a PYNQ board able to take part in jobs: jobs/provision.sh [USER@]BOARD [BITSTREAM...]
# Run on the head node, from the repository. It copies the runtime part of mpi_vta and the bitstreams to the board
# and installs what the image lacks. TVM, ONNX and models stay on the head node. A second call only updates.
set -euo pipefail

(($# >= 1)) || { echo "usage: $0 [USER@]BOARD [BITSTREAM...]" >&2; exit 2; }
board=$1
shift
repository=$(cd "$(dirname "$0")/.." && pwd)
# PYNQ's Python with pynq in it
venv=${MPI_VTA_BOARD_VENV:-/usr/local/share/pynq-venv}
target=/opt/mpi_vta

for file in "$@"; do
    [[ -r $file ]] || { echo "$0: cannot read $file" >&2; exit 2; }
done

ssh "$board" "sudo mkdir -p $target/bitstreams && sudo chown -R \$(id -u) $target"
tar -C "$repository" -cz --exclude='__pycache__' mpi_vta hw | ssh "$board" "tar -C $target -xz"
for file in "$@"; do
    # the hardware description and the manifest travel with the bitstream
    for part in "$file" "${file%.*}.hwh" "${file%.*}.json"; do
        if [[ -r $part ]]; then scp -q "$part" "$board:$target/bitstreams/"; fi
    done
done

ssh "$board" "sudo VENV='$venv' TARGET='$target' bash -euo pipefail -s" <<'ON_BOARD'
[[ -x $VENV/bin/python ]] || { echo "no Python in $VENV: set MPI_VTA_BOARD_VENV" >&2; exit 2; }
python=$VENV/bin/python
if [[ $(uname -m) == armv7l ]]; then
    # no wheels for armv7l, and its mpich wheel is an empty placeholder: distribution packages, mpi4py from source
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        mpich libmpich-dev gcc python3-dev python3-h5py
    "$python" -c 'import mpi4py' 2>/dev/null ||
        MPICC=mpicc.mpich "$python" -m pip install --quiet --no-binary mpi4py 'mpi4py>=4.0'
    # the distribution's h5py, in case the environment does not look outside
    "$python" -c 'import h5py' 2>/dev/null || {
        echo /usr/lib/python3/dist-packages > "$("$python" -c 'import site; print(site.getsitepackages()[0])')/h5py.pth"
    }
else
    "$python" -m pip install --quiet 'mpi4py>=4.0' 'mpich>=4.2' 'h5py>=3.9'
fi
"$python" -c 'import tomllib' 2>/dev/null || "$python" -m pip install --quiet 'tomli>=2'
echo "$TARGET" > "$("$python" -c 'import site; print(site.getsitepackages()[0])')/mpi_vta.pth"
"$python" -m mpi_vta.doctor --device pynq
ON_BOARD
