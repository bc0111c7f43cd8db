"""A real Slurm on one machine: munged, slurmctld and four slurmd, started by hand on ports and sockets of their own."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
NODES = ("n1", "n2", "n3", "n4")
LAUNCHER_VARIABLES = ("PMI_", "PMIX_", "OMPI_", "HYDRA_", "HYDI_", "MPI_", "MPIR_", "SLURM_", "SBATCH_")
ENDED = ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT")
CONFIGURATION = """
ClusterName=mpivta
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=pmi2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
ReturnToService=2
JobRequeue=1
KillWait=2
MinJobAge=3600
FirstJobId={first_job}
{nodes}
PartitionName=boards Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Job:
    """What Slurm says of a job (or of one task of an array)."""

    number: str
    state: str
    restarts: int
    exit_code: str


class SlurmCluster:
    """Four nodes of two processors each, all of them this machine; needs root.

    Parameters
    ----------
    folder : Path
        For configuration, key, sockets, spools and logs; short, as a socket's path has 108 bytes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.configuration = folder / "slurm.conf"
        self._running = ExitStack()

    def __enter__(self) -> SlurmCluster:
        try:
            self._write_files()
            self._start_munge()
            self._start("slurmctld", "-D", "-i", "-f", self.configuration)
            for node in NODES:
                self._start("slurmd", "-D", "-N", node, "-f", self.configuration)
            self._wait_for_nodes()
        except BaseException:
            self._running.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # jobs first: a slurmd that ends leaves its steps running
        self.run("scancel", "--user=root", "--full")
        deadline = time.monotonic() + 30
        while self.run("squeue", "--noheader").strip() and time.monotonic() < deadline:
            time.sleep(0.3)
        self._running.close()

    @property
    def environ(self) -> dict[str, str]:
        """Environment of whoever submits: this Slurm, this Python, the project's sources, no other launcher."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHER_VARIABLES)}
        paths = os.pathsep.join((str(BIN), os.environ["PATH"], "/usr/sbin"))
        return kept | {
            "SLURM_CONF": str(self.configuration),
            "PATH": paths,
            "PYTHONPATH": str(REPOSITORY),
            "OPENBLAS_NUM_THREADS": "1",
        }

    def run(self, *command: object, folder: Path | None = None, **environ: str) -> str:
        """Run one of Slurm's commands; return what it prints."""
        done = subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            timeout=60,
            env=self.environ | environ,
            cwd=folder,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}\n{self.logs()}"
        return done.stdout

    def submit(self, *arguments: object, folder: Path, **environ: str) -> str:
        """Submit a batch script from a folder; return the job's number."""
        return self.run("sbatch", "--parsable", *arguments, folder=folder, **environ).strip()

    def job(self, number: str) -> Job:
        """Return what Slurm says of a job, or of an array's task NUMBER_INDEX."""
        fields = dict(word.split("=", 1) for word in self.run("scontrol", "--oneliner", "show", "job", number).split()
                      if "=" in word)  # fmt: skip
        return Job(number, fields["JobState"], int(fields["Restarts"]), fields["ExitCode"])

    def wait(self, number: str, timeout_s: float) -> Job:
        """Wait until a job has ended; return how."""
        return self.wait_for(number, ENDED, timeout_s)

    def wait_for(self, number: str, states: tuple[str, ...], timeout_s: float) -> Job:
        """Wait until a job is in one of these states."""
        deadline = time.monotonic() + timeout_s
        while (job := self.job(number)).state not in states:
            assert time.monotonic() < deadline, f"job {number} is {job.state} after {timeout_s} s\n{self.logs()}"
            time.sleep(0.3)
        return job

    def begin_now(self, number: str) -> None:
        """Let a requeued job begin in seconds: Slurm holds it back for two minutes."""
        self.wait_for(number, ("PENDING", "RUNNING", "COMPLETED"), 30)
        # slurmd counts in seconds, and takes a job that begins in the one in which it was killed for the killed one
        self.run("scontrol", "update", f"JobId={number}", "StartTime=now+4")

    def logs(self) -> str:
        """Return the end of every daemon's log."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-1500:]}" for path in sorted(self.folder.glob("*.log"))
        )

    def _write_files(self) -> None:
        for name in ("state", "munge", *(f"spool/{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True)
        with ExitStack() as held:  # all open at once, so that no port is given twice
            ports = []
            for _ in range(1 + len(NODES)):
                holder = held.enter_context(socket.socket())
                holder.bind(("127.0.0.1", 0))
                ports.append(holder.getsockname()[1])
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 Port={port} CPUs=2 State=UNKNOWN"
            for node, port in zip(NODES, ports[1:], strict=True)
        )
        text = CONFIGURATION.format(
            host=socket.gethostname(),
            controller_port=ports[0],
            folder=self.folder,
            nodes=nodes,
            # MPICH names shared memory by job and step: no number of an earlier Slurm whose jobs were killed
            first_job=random.randrange(10_000, 60_000_000),
        )
        self.configuration.write_text(text)

    def _start_munge(self) -> None:
        place = self.folder / "munge"
        key = place / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        place.chmod(0o755)
        files = {name: place / name for name in ("socket", "pid", "log", "seed")}
        self._start(
            "munged", "--foreground", "--force", f"--socket={files['socket']}", f"--key-file={key}",
            f"--pid-file={files['pid']}", f"--log-file={files['log']}", f"--seed-file={files['seed']}",
        )  # fmt: skip
        deadline = time.monotonic() + 20
        while not files["socket"].exists():
            assert time.monotonic() < deadline, (self.folder / "munged.log").read_text()
            time.sleep(0.1)

    def _start(self, program: str, *arguments: object) -> None:
        """Start a daemon in the foreground; it ends with the cluster."""
        node = f"-{arguments[2]}" if program == "slurmd" else ""
        log = self._running.enter_context((self.folder / f"{program}{node}.log").open("wb"))
        process = subprocess.Popen(
            [program, *map(str, arguments)], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environ
        )
        self._running.callback(self._stop, process)

    @staticmethod
    def _stop(process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _wait_for_nodes(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            done = subprocess.run(
                ["sinfo", "--noheader", "--Node", "--format=%T"], capture_output=True, text=True, env=self.environ
            )
            if done.returncode == 0 and done.stdout.split() == ["idle"] * len(NODES):
                return
            assert time.monotonic() < deadline, f"no Slurm: {done.stdout}{done.stderr}\n{self.logs()}"
            time.sleep(0.3)
