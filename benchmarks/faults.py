"""Random signals into jobs that are gone on with until they are done: ``python benchmarks/faults.py --signals 300``.

Each part of a job gets one signal at a random moment from its start to its end: to a rank, a guardian or the launcher's
process, one that kills, asks to end or stops. Then nothing of the job may run, and what a job that ended early has
left is gone on with. Every job ends with the outputs' hash of one that nothing disturbed; one that has not ended five
minutes after the signal hangs: that is a finding, and it is killed. At the end /dev/shm and /tmp hold no more than
before. Run it where nothing else runs MPI, so that what is left is exact, as root for example:

    unshare --pid --mount --ipc --net --fork --kill-child --mount-proc bash -c \\
        'mount -t tmpfs tmpfs /dev/shm; mount -t tmpfs tmpfs /tmp; ip link set lo up;
         exec python benchmarks/faults.py --folder /var/tmp/faults'
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

BIN = Path(sys.executable).parent
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGSEGV)
LEFT = (("/dev/shm", "mpich_*"), ("/dev/shm", "ucx_*"), ("/tmp", "hydra_*"))
GUARDIAN, PROXY = "mpi_vta.runtime.faults.guardian", "hydra_pmi_proxy"
GONE_WITHIN_S = 60.0
# many times the watchdog's limit, as other work may have the processors
LONGEST_END_S = 300.0


def processes(output: str) -> dict[str, list[int]]:
    """Return the processes of the job that writes to `output`: its ranks, their guardians, launchers' processes."""
    found: dict[str, list[int]] = {"rank": [], "guardian": [], "proxy": []}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_text().split("\0")
            if GUARDIAN in words:
                rank = words[words.index(GUARDIAN) + 2]
                if output in Path("/proc", rank, "cmdline").read_text():
                    found["guardian"].append(int(path.parent.name))
                    found["proxy"].append(int(Path("/proc", path.parent.name, "stat").read_text().split()[3]))
            elif output in words and "mpirun" not in words[0]:
                found["rank"].append(int(path.parent.name))
        except OSError:
            continue
    return found


def left_files() -> int:
    """Count what MPICH has left."""
    return sum(len(list(Path(folder).glob(pattern))) for folder, pattern in LEFT)


def command(ranks: int, images: int, *more: str) -> list[str]:
    """Return the command of a job or of its rest."""
    job = ["-m", "mpi_vta.pipeline", "--model", "digits", "--images", str(images), "--json", *more]
    return [str(BIN / "mpirun"), "-n", str(ranks), sys.executable, *job]


def send(job: subprocess.Popen[str], output: str, kind: str, number: signal.Signals) -> bool:
    """Send a signal to a process of a job; return False if the job has none of this kind, or no more."""
    targets = processes(output)[kind]
    if job.poll() is not None or not targets:
        return False
    try:
        os.kill(random.choice(targets), number)
    except ProcessLookupError:
        return False
    return True


def ended(job: subprocess.Popen[str], output: str) -> bool:
    """Wait for the end of a job; return False if it hangs, and kill what is left of it."""
    try:
        job.wait(LONGEST_END_S)
        return True
    except subprocess.TimeoutExpired:
        end(job, output)
        return False


def end(job: subprocess.Popen[str], output: str) -> None:
    """Kill what is left of a job that hangs."""
    for pid in (job.pid, *(pid for pids in processes(output).values() for pid in pids)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    job.wait()


def main() -> int:
    """Run the campaign and print what was measured; return 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signals", type=int, default=300)
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=600, help="stop after this time (default: %(default)g)")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/mpi_vta-faults"))
    options = parser.parse_args()
    random.seed(options.seed)
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    os.chdir(options.folder)
    began_s = time.monotonic()
    plain = subprocess.run(command(2, options.images, "--output", "plain"), capture_output=True, text=True, check=True)
    wanted = json.loads(plain.stdout)["models"][0]["output_sha256"]
    # a little longer than the job: the last moments count, too
    longest_s, jobs = 1.1 * (time.monotonic() - began_s), 0
    began_s, counts, slowest_s, wrong = time.monotonic(), Counter[str](), 0.0, []

    def is_over() -> bool:
        return bool(sum(counts.values()) >= options.signals or time.monotonic() - began_s > 60 * options.minutes)

    while not is_over():
        output, jobs = str(options.folder / f"job-{jobs}"), jobs + 1
        resume = False
        while True:
            ranks = random.randint(2, 4)
            kind = random.choice(("rank", "rank", "rank", "guardian", "proxy"))
            number = random.choice(SIGNALS) if kind == "rank" else signal.SIGKILL
            where = ["--resume" if resume else "--output", output]
            with open("log.txt", "w+") as log, open("err.txt", "w+") as err:
                part_s = time.monotonic()
                with subprocess.Popen(
                    command(ranks, options.images, *where), stdout=log, stderr=err, text=True, stdin=subprocess.DEVNULL
                ) as job:
                    after_s = random.uniform(0.0, longest_s)
                    time.sleep(after_s)
                    # the last job is let go on to its end
                    sent, sent_s = not is_over() and send(job, output, kind, number), time.monotonic()
                    hangs = not ended(job, output)
                    took_s = time.monotonic() - sent_s
                part_s = time.monotonic() - part_s
            what = f"{output}: {number.name} to a {kind} after {after_s:.2f} s"
            print(f"{what}: {f'ended after {took_s:.1f} s' if sent else 'not sent'}", file=sys.stderr, flush=True)
            if sent:
                counts[f"{number.name} to a {kind}"] += 1
                slowest_s = max(slowest_s, took_s)
            else:
                longest_s = 0.8 * longest_s + 0.2 * 1.1 * part_s
            if hangs:
                wrong.append(f"{what}: the job hung" + ("" if sent else ", though nothing was sent"))
            until_s = time.monotonic() + GONE_WITHIN_S
            while any(processes(output).values()) and time.monotonic() < until_s:
                time.sleep(0.1)
            if any(processes(output).values()):
                wrong.append(f"{what}: processes are left")
            text = Path("err.txt").read_text()
            if "Traceback" in text or "internal error" in text:
                wrong.append(f"{what}: {text[-300:]}")
            if job.returncode == 0:
                if json.loads(Path("log.txt").read_text())["models"][0]["output_sha256"] != wanted:
                    wrong.append(f"{what}: another hash")
                break
            if not sent and not hangs:
                wrong.append(f"{output}: ended by itself with {job.returncode}: {text[-300:]}")
                break
            resume = (Path(output) / "outputs/set.json").exists()
        shutil.rmtree(output, ignore_errors=True)
    left = left_files()
    # what is left by a start that was killed is young: the next start after a minute removes it
    time.sleep(61 if left else 0)
    subprocess.run(command(2, 8, "--output", "last"), capture_output=True, check=True)
    load = ", ".join(f"{each:.0f}" for each in os.getloadavg())
    minutes = (time.monotonic() - began_s) / 60
    print(f"{sum(counts.values())} signals into {jobs} jobs in {minutes:.0f} minutes, load {load} at the end")
    for what, count in sorted(counts.items()):
        print(f"  {count:4} {what}")
    print(f"longest time from a signal to the end: {slowest_s:.1f} s")
    print(f"files of MPICH: {left} after the last signal, {left_files()} after the next start")
    print("\n".join(wrong) or "every job had the undisturbed hash, no process was left, no line was a bug's")
    return 1 if wrong or left_files() else 0


if __name__ == "__main__":
    sys.exit(main())
