"""The main job, whose rank RANK is killed by SIGKILL AFTER_S seconds into its run."""

import os
import signal
import sys
import threading

from mpi_vta import pipeline
from mpi_vta.runtime import session


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


original = session._run


def run(transport, *arguments, **options):
    if transport.rank == int(os.environ["RANK"]):
        timer = threading.Timer(float(os.environ["AFTER_S"]), kill)
        timer.daemon = True
        timer.start()
    return original(transport, *arguments, **options)


session._run = run
sys.exit(pipeline.main(sys.argv[1:]))
