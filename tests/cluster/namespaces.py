"""Hosts on one machine: network namespaces behind a bridge, 1 Gb/s each, an sshd each, PYNQ's duplicate addresses.

``python tests/cluster/namespaces.py check`` says in one line what is missing for it, status 1 if anything is.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
RATE = ("rate", "1gbit", "burst", "32kb", "latency", "50ms")
NETNS = Path("/etc/netns")
SYSTEM_PATH = "/usr/sbin:/sbin"
TOOLS = {
    **dict.fromkeys(("ip", "tc"), "iproute2"),
    **dict.fromkeys(("ssh", "ssh-keygen"), "openssh-client"),
    **dict.fromkeys(("unshare", "chrt"), "util-linux"),
    "hostname": "hostname",
    "sshd": "openssh-server",
}
SSHD = """ListenAddress {address}
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile /etc/ssh/authorized_keys
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
StrictModes no
UsePAM no
PidFile none
"""
SSH = """IdentityFile /etc/ssh/id_ed25519
StrictHostKeyChecking yes
GlobalKnownHostsFile /etc/ssh/ssh_known_hosts
UserKnownHostsFile none
LogLevel ERROR
"""
DEADLINE_S = 10


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str


class FakeCluster:
    """Some hosts, made on entry and removed when the block or the process ends, however it ends; needs root.

    Namespaces carry the number of this process, so that several clusters can stand side by side.

    Parameters
    ----------
    hosts : int
        How many, 1 to 250; ``vta0`` starts the jobs.
    folder : Path
        For the hostfile and the keys.
    undisturbed : bool
        Run the hosts' processes before all others of this machine (SCHED_RR), so that times measured are theirs.
    python : str
        The Python of the jobs; mpirun is the one beside it.
    slot : str
        What follows a host's name in the hostfile.

    Attributes
    ----------
    names : list of str
        The hosts, in rank order.
    hostfile : Path
        One slot per host.
    """

    def __init__(
        self, hosts: int, folder: Path, undisturbed: bool = False, python: str = sys.executable, slot: str = ":1"
    ) -> None:
        self.names = [f"vta{index}" for index in range(hosts)]
        self.hostfile = folder / "hostfile"
        self._python, self._slot = python, slot
        self._keys = folder / "keys"
        self._priority = ("chrt", "--rr", "1") if undisturbed else ()
        self._serial = f"{os.getpid()}-{time.monotonic_ns() % 1_000_000}"
        self._switch = f"vtasw-{self._serial}"
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> FakeCluster:
        # a process of its own removes everything when its input closes: at exit, or when this process is killed
        spaces = [self._switch, *map(self.namespace, self.names)]
        command = [sys.executable, __file__, "guard", str(self._keys.resolve()), *spaces]
        self._guard = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait()
        for daemon in self._daemons.values():
            daemon.wait()

    def namespace(self, host: str) -> str:
        """Return the network namespace of a host."""
        return f"{host}-{self._serial}"

    def command(self, host: str, *words: object) -> list[str]:
        """Return the command line that runs a command on a host, with its network, name and ``/etc/hosts``."""
        inner = f"hostname {host}; exec {shlex.join(map(str, words))}"
        return [*self._priority, "ip", "netns", "exec", self.namespace(host), "unshare", "--uts", "sh", "-c", inner]

    def on(self, host: str, *words: object, timeout_s: float = 60) -> Ended:
        """Run a command on a host."""
        done = subprocess.run(self.command(host, *words), capture_output=True, text=True, timeout=timeout_s)
        return Ended(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def started(self, *arguments: object, folder: Path, **environ: str) -> Iterator[subprocess.Popen[str]]:
        """Run ``jobs/launch.sh hostfile python *arguments`` on the first host while the block lasts.

        Its output comes through pipes. What is still running at the end is killed on all hosts.
        """
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PMI_", "OMPI_", "SLURM_"))}
        env = {
            **inherited,
            "PATH": f"{Path(self._python).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(REPOSITORY),
            "OPENBLAS_NUM_THREADS": "1",
            **environ,
        }
        launch = [REPOSITORY / "jobs" / "launch.sh", self.hostfile, self._python, *arguments]
        pipe = subprocess.PIPE
        job = subprocess.Popen(
            self.command(self.names[0], *launch),
            **{"stdin": subprocess.DEVNULL, "stdout": pipe, "stderr": pipe, "text": True, "env": env, "cwd": folder},
        )
        try:
            with job:
                try:
                    yield job
                except BaseException:
                    job.kill()
                    raise
        finally:
            for host in self.names:
                for pid in self.processes(host):
                    _kill(pid)

    def job(self, *arguments: object, timeout_s: float = 180, folder: Path, **environ: str) -> Ended:
        """Run ``jobs/launch.sh hostfile python *arguments`` on the first host, to its end."""
        with self.started(*arguments, folder=folder, **environ) as job:
            stdout, stderr = job.communicate(timeout=timeout_s)
        return Ended(job.returncode, stdout, stderr)

    def processes(self, host: str) -> list[int]:
        """Return the processes that run on a host beside its sshd."""
        daemon = self._daemons[host].pid
        return [pid for pid in _pids(self.namespace(host)) if pid != daemon]

    def cut(self, host: str) -> None:
        """Pull the host's cable out of the switch."""
        _ip("-n", self._switch, "link", "set", self._port(host), "down")

    def mend(self, host: str) -> None:
        """Put it back."""
        _ip("-n", self._switch, "link", "set", self._port(host), "up")

    def _port(self, host: str) -> str:
        return f"p{self.names.index(host)}"

    def _address(self, host: str) -> str:
        return f"10.77.0.{self.names.index(host) + 1}"

    def _make(self) -> None:
        self.hostfile.write_text("".join(f"{name}{self._slot}\n" for name in self.names))
        self._keys.mkdir(mode=0o700)
        for name in (*self.names, "user"):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(self._keys / name))
        # sshd wants it, and an image without systemd lacks it
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        _ip("netns", "add", self._switch)
        _ip("-n", self._switch, "link", "add", "br0", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "br0", "up")
        for name in self.names:
            self._make_etc(name)
            self._make_links(name)
        for name in self.names:
            self._daemons[name] = self._start_sshd(name)
        for name in self.names:
            self._await_sshd(name)

    def _make_etc(self, host: str) -> None:
        """Write what a process that enters the namespace finds in /etc/hosts and /etc/ssh."""
        addresses = "".join(f"{self._address(name)} {name}\n" for name in self.names)
        hosts_keys = "".join(f"{name} {(self._keys / f'{name}.pub').read_text()}" for name in self.names)
        etc = NETNS / self.namespace(host)
        (etc / "ssh").mkdir(parents=True)
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n{addresses}")
        # a plain shell for root, so that no start-up file of this machine's user has a say
        others = [line for line in Path("/etc/passwd").read_text().splitlines() if not line.startswith("root:")]
        (etc / "passwd").write_text("\n".join(["root:x:0:0:root:/root:/bin/sh", *others, ""]))
        (etc / "ssh" / "ssh_config").write_text(SSH)
        (etc / "ssh" / "sshd_config").write_text(SSHD.format(address=self._address(host)))
        (etc / "ssh" / "ssh_known_hosts").write_text(hosts_keys)
        shutil.copy(self._keys / "user.pub", etc / "ssh" / "authorized_keys")
        shutil.copy(self._keys / "user", etc / "ssh" / "id_ed25519")
        shutil.copy(self._keys / host, etc / "ssh" / "ssh_host_ed25519_key")

    def _make_links(self, host: str) -> None:
        inside, port = self.namespace(host), self._port(host)
        _ip("netns", "add", inside)
        _ip("-n", self._switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", inside)
        _ip("-n", self._switch, "link", "set", port, "master", "br0", "up")
        _ip("-n", inside, "link", "set", "lo", "up")
        _ip("-n", inside, "address", "add", f"{self._address(host)}/24", "dev", "eth0")
        _ip("-n", inside, "address", "add", "192.168.2.99/24", "dev", "eth0", "label", "eth0:1")
        _ip("-n", inside, "link", "add", "usb0", "type", "veth", "peer", "name", "usb0p")
        _ip("-n", inside, "address", "add", "192.168.3.1/24", "dev", "usb0")
        for device in ("eth0", "usb0", "usb0p"):
            _ip("-n", inside, "link", "set", device, "up")
        _run("tc", "-n", inside, "qdisc", "add", "dev", "eth0", "root", "tbf", *RATE)
        _run("tc", "-n", self._switch, "qdisc", "add", "dev", port, "root", "tbf", *RATE)

    def _start_sshd(self, host: str) -> subprocess.Popen[bytes]:
        """Start a host's sshd; it gets the process number of what is started here, as every step is an exec."""
        return subprocess.Popen(self.command(host, _where("sshd"), "-D", "-E", self._keys / f"{host}.log"))

    def _await_sshd(self, host: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while (answer := self.on(self.names[0], "ssh", host, "hostname")).stdout.strip() != host:
            if self._daemons[host].poll() is not None or time.monotonic() > deadline:
                log = self._keys / f"{host}.log"
                raise RuntimeError(f"no ssh to {host}: {answer.stderr}{log.read_text() if log.exists() else ''}")
            time.sleep(0.05)


def missing() -> str | None:
    """Return in one line what a cluster of namespaces lacks here and how to get it; None if it can be made."""
    packages = sorted({package for tool, package in TOOLS.items() if _where(tool) is None})
    if packages:
        return f"a cluster of network namespaces needs {', '.join(packages)}: apt-get install {' '.join(packages)}"
    if os.geteuid() != 0:
        return "a cluster of network namespaces needs root: run this as root"
    trial = f"vtatrial-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", trial], capture_output=True, text=True)
    if made.returncode:
        return f"no network namespaces here ({made.stderr.strip()}): run this on a machine, not in a plain container"
    _ip("netns", "delete", trial)
    return None


def _guard(keys: Path, namespaces: list[str]) -> None:
    """Wait until the input closes, then kill what runs in the namespaces and remove them and the keys."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdin.read()
    for name in namespaces:
        if (Path("/run/netns") / name).exists():
            deadline = time.monotonic() + DEADLINE_S
            while (left := _pids(name)) and time.monotonic() < deadline:
                for pid in left:
                    _kill(pid)
                time.sleep(0.02)
            _ip("netns", "delete", name)
        shutil.rmtree(NETNS / name, ignore_errors=True)
    shutil.rmtree(keys, ignore_errors=True)


def _where(tool: str) -> str | None:
    return shutil.which(tool, path=f"{os.environ['PATH']}:{SYSTEM_PATH}")


def _pids(namespace: str) -> list[int]:
    return [int(word) for word in _ip("netns", "pids", namespace).split()]


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _ip(*arguments: str) -> str:
    return _run("ip", *arguments)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)}: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    if sys.argv[1] == "guard":
        _guard(Path(sys.argv[2]), sys.argv[3:])
    elif lack := missing():
        sys.exit(f"{Path(sys.argv[0]).name}: {lack}")
