"""CPU threads: as many as this process was given, in torch and in the tokenizer alike."""

import math
import multiprocessing
import os
import signal
import threading
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def allotted() -> int:
    """Cores that this process may use: by its affinity, and by the CPU quota of its control group and of
    those around it, as a container or a scheduler sets it; a part of a core counts as one."""
    cores = len(os.sched_getaffinity(0))
    return max(min([cores, *(math.ceil(quota) for quota in _quotas())]), 1)


def limit(threads: int) -> None:
    """Let torch compute on so many threads, and the tokenizer, which runs ahead of it, on one less, beside
    the thread that starts the passes. To be called before either has begun."""
    import torch

    torch.set_num_threads(threads)
    os.environ["RAYON_NUM_THREADS"] = str(max(threads - 1, 1))


def end_with_parent() -> None:
    """Let this process, a child of another, not outlive it; a Ctrl-C, which reaches both, is left to that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _quotas() -> list[float]:
    """Of every control group that has one, in cores: version 2 says `200000 100000` in one file, version 1 in
    two."""
    found = []
    for line in _OWN.read_text().splitlines() if _OWN.exists() else []:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = _CGROUPS / "cpu" if controllers else _CGROUPS
        own = root / path.lstrip("/")
        for group in (own, *own.parents):
            if group.is_relative_to(root):
                found += _quota(group)
    return found


def _quota(group: Path) -> list[float]:
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            quota, period = " ".join((group / name).read_text() for name in names).split()
        except (OSError, ValueError):  # not of this version, or nothing said
            continue
        if quota.isdecimal():  # else "max", or -1
            return [int(quota) / int(period)]
    return []
