"""Hosts on one machine: network namespaces behind a bridge, 1 Gb/s each, with PYNQ's duplicate addresses."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SWITCH = "vtasw"
RATE = ("rate", "1gbit", "burst", "32kb", "latency", "50ms")
LAUNCHER = """#!/bin/sh
# what Hydra would do over ssh: HOST COMMAND...
while [ "${1#-}" != "$1" ]; do shift; done
host=$1
shift
exec ip netns exec "$host" unshare --uts sh -c "hostname $host; $*"
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str


class FakeCluster:
    """Some hosts, made on entry and removed on exit; needs root.

    Parameters
    ----------
    hosts : int
        How many; ``vta0`` starts the jobs.
    folder : Path
        For the hostfile and the launcher script.
    """

    def __init__(self, hosts: int, folder: Path) -> None:
        self.names = [f"vta{index}" for index in range(hosts)]
        self.hostfile = folder / "hostfile"
        self._launcher = folder / "launcher"

    def __enter__(self) -> FakeCluster:
        self._remove()
        try:
            self._make()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def _make(self) -> None:
        addresses = "".join(f"10.77.0.{index + 1} {name}\n" for index, name in enumerate(self.names))
        self.hostfile.write_text("".join(f"{name}:1\n" for name in self.names))
        self._launcher.write_text(LAUNCHER)
        self._launcher.chmod(0o755)
        _ip("netns", "add", SWITCH)
        _ip("-n", SWITCH, "link", "add", "br0", "type", "bridge")
        _ip("-n", SWITCH, "link", "set", "br0", "up")
        for index, name in enumerate(self.names):
            etc = Path("/etc/netns") / name
            etc.mkdir(parents=True, exist_ok=True)
            (etc / "hosts").write_text(f"127.0.0.1 localhost\n{addresses}")
            _ip("netns", "add", name)
            _ip("-n", SWITCH, "link", "add", f"p{index}", "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("-n", SWITCH, "link", "set", f"p{index}", "master", "br0", "up")
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", name, "address", "add", f"10.77.0.{index + 1}/24", "dev", "eth0")
            _ip("-n", name, "address", "add", "192.168.2.99/24", "dev", "eth0", "label", "eth0:1")
            _ip("-n", name, "link", "add", "usb0", "type", "veth", "peer", "name", "usb0p")
            _ip("-n", name, "address", "add", "192.168.3.1/24", "dev", "usb0")
            for device in ("eth0", "usb0", "usb0p"):
                _ip("-n", name, "link", "set", device, "up")
            _tc(name, "eth0")
            _tc(SWITCH, f"p{index}")

    def _remove(self) -> None:
        for name in [*self.names, SWITCH]:
            if (Path("/run/netns") / name).exists():
                _ip("netns", "delete", name)
            (Path("/etc/netns") / name / "hosts").unlink(missing_ok=True)
            if (Path("/etc/netns") / name).is_dir():
                (Path("/etc/netns") / name).rmdir()

    def job(self, *arguments: object, timeout_s: float = 180, folder: Path, **environ: str) -> Ended:
        """Run ``jobs/launch.sh hostfile python *arguments`` from the first host."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PMI_", "OMPI_", "SLURM_"))}
        env = {
            **inherited,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(REPOSITORY),
            "OPENBLAS_NUM_THREADS": "1",
            "HYDRA_LAUNCHER": "ssh",
            "HYDRA_LAUNCHER_EXEC": str(self._launcher),
            "MPI_VTA_IFACE": "eth0",
            **environ,
        }
        command = [REPOSITORY / "jobs" / "launch.sh", self.hostfile, sys.executable, *arguments]
        words = shlex.join(map(str, command))
        here = ["ip", "netns", "exec", self.names[0], "unshare", "--uts", "sh", "-c"]
        done = subprocess.run(
            [*here, f"hostname {self.names[0]}; exec {words}"],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=env,
            cwd=folder,
            stdin=subprocess.DEVNULL,
        )
        return Ended(done.returncode, done.stdout, done.stderr)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def _tc(namespace: str, device: str) -> None:
    command = ["ip", "netns", "exec", namespace, "tc", "qdisc", "add", "dev", device, "root", "tbf", *RATE]
    subprocess.run(command, check=True, capture_output=True, text=True)
