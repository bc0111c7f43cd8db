"""Child processes that end with their parent, however that ends, and take no more than they are given."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_GONE_STATUS = 128 + signal.SIGKILL


def end_with(parent: int) -> None:
    """Let the system kill this process when the one that started it, process `parent`, is gone. Linux only."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        # it was gone before it was watched
        os._exit(_GONE_STATUS)


def limit_memory(size_bytes: int) -> None:
    """Refuse this process more memory of its own than that, from now on; less if the system allows less."""
    # not RLIMIT_AS: with it, threads count for address space that they only reserve
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    least = size_bytes if most == resource.RLIM_INFINITY else min(size_bytes, most)
    resource.setrlimit(resource.RLIMIT_DATA, (least, most))
