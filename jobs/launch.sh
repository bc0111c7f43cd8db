#!/usr/bin/env bash
# Start a job over boards on the right network interface: jobs/launch.sh HOSTFILE COMMAND [ARGUMENT...]
# jobs/launch.sh hostfile python -m mpi_vta.pipeline --model resnet18 --device pynq --clock wall
#
# PYNQ images carry the same two addresses on every board (eth0:1 192.168.2.99, usb0 192.168.3.1), and MPI picks
# them. MPI_VTA_IFACE names the interface that joins the boards; by default the one of the default route, or eth0.
set -euo pipefail

(($# >= 2)) || { echo "usage: $0 HOSTFILE COMMAND [ARGUMENT...]" >&2; exit 2; }
hostfile=$1
shift
[[ -r $hostfile ]] || { echo "$0: cannot read the hostfile $hostfile" >&2; exit 2; }

routed=$(ip -4 route show default 2>/dev/null | sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -n 1)
iface=${MPI_VTA_IFACE:-${routed:-eth0}}
mpirun=${MPIRUN:-mpirun}

# UCX between boards only over TCP on that interface
export UCX_TLS=${UCX_TLS:-tcp,self} UCX_NET_DEVICES=$iface

if version=$("$mpirun" --version 2>/dev/null) && [[ $version == *"Open MPI"* ]]; then
    # the launcher's connections (version 4, then 5), and those of the ranks
    export OMPI_MCA_oob_tcp_if_include=$iface PRTE_MCA_prte_if_include=$iface OMPI_MCA_btl_tcp_if_include=$iface
    export OMPI_MCA_mpi_yield_when_idle=1
    # Open MPI hands on nothing but its own variables by itself
    for name in PATH $(compgen -e | grep -E '^(PYTHONPATH|UCX_.*|MPI_VTA_.*|OPENBLAS_NUM_THREADS|OMP_NUM_THREADS)$'); do
        set -- -x "$name" "$@"
    done
    # boards want root, for /dev/mem
    if ((EUID == 0)); then set -- --allow-run-as-root "$@"; fi
    # a rank has threads of its own, which it may not tie to one core
    exec "$mpirun" --hostfile "$hostfile" --bind-to none "$@"
fi

# the launcher's own connections likewise
export HYDRA_IFACE=$iface
# the same for builds of MPICH with libfabric, and a yield for more ranks than cores
export FI_PROVIDER=${FI_PROVIDER:-tcp} FI_TCP_IFACE=$iface MPIR_CVAR_ENABLE_HEAVY_YIELD=1
exec "$mpirun" -f "$hostfile" -iface "$iface" "$@"
