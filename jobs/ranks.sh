#!/usr/bin/env bash
# Start the ranks of a Slurm or PBS job: jobs/ranks.sh COMMAND [ARGUMENT...]
# One rank per task of the job. Under Slurm LAUNCHER=srun takes srun instead of mpirun.
set -euo pipefail

(($#)) || { echo "usage: $0 COMMAND [ARGUMENT...]" >&2; exit 2; }
mpirun=${MPIRUN:-mpirun}
launcher=${LAUNCHER:-mpirun}

if [[ -n ${SLURM_JOB_ID:-} ]]; then
    case $launcher in
        # either mpirun finds the nodes and tasks of the job by itself
        mpirun) exec "$mpirun" "$@" ;;
        srun)
            # a job that runs again counts its steps from 0 again, and MPICH would take the shared memory that the killed
            # step of the same number left on the node for its own: so it begins with another number
            for ((past = 0; past < ${SLURM_RESTART_COUNT:-0}; past++)); do
                srun --mpi=none --nodes=1 --ntasks=1 true
            done
            # without this option a rank that was killed leaves the others waiting for it
            exec srun --mpi=pmi2 --kill-on-bad-exit=1 "$@"
            ;;
        *) echo "$0: LAUNCHER is $launcher; allowed: mpirun, srun" >&2; exit 2 ;;
    esac
elif [[ -n ${PBS_NODEFILE:-} ]]; then
    if "$mpirun" --version 2>/dev/null | grep -q "Open MPI"; then exec "$mpirun" --hostfile "$PBS_NODEFILE" "$@"; fi
    # one line per task: a host with several is named several times
    exec "$mpirun" -f "$PBS_NODEFILE" "$@"
else
    echo "$0: no job of Slurm or PBS here; start mpirun yourself" >&2
    exit 2
fi
