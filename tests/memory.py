"""What processes that load weights say of their memory; little is imported, as each of them starts anew."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch

from virnucpro.models.esm2 import load_esm2
from virnucpro.models.esm2_weights import read_esm2

CPU = torch.device("cpu")


def resident(kind: str) -> int:
    """Bytes of this process in memory: `Anon` its own, `File` pages of mapped files, which the system shares
    among processes and may drop."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(text.partition(f"Rss{kind}:")[2].split()[0])


@dataclass
class Peak:
    """The most that a block added to this process's own memory."""

    added: int = 0


@contextmanager
def watch_memory() -> Iterator[Peak]:
    peak, before, over = Peak(), resident("Anon"), threading.Event()

    def look() -> None:
        while not over.is_set():
            peak.added = max(peak.added, resident("Anon") - before)
            time.sleep(0.001)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()


def load_and_tell(small: Path, path: Path, dtype: torch.dtype, tell: "Queue[tuple[int, int]]") -> None:
    """The most memory of its own that loading `path` took, and the bytes of the weights. The `small` one goes
    first, so that what the libraries load when they are first used is not counted."""
    torch.set_num_threads(1)
    load_esm2(small, CPU, dtype)
    with watch_memory() as peak:
        model = load_esm2(path, CPU, dtype)
    tell.put((peak.added, sum(value.numel() * value.element_size() for value in model.state_dict().values())))


def map_and_tell(
    paths: Sequence[Path], all_ready: Barrier, tell: "Queue[list[tuple[float, int, int]]]"
) -> None:
    """For each layout, while every rank holds it: (sum of the weights, bytes of its own, its share of the
    bytes that all hold). Each is read once before, so that what the libraries load is not counted."""
    torch.set_num_threads(1)

    def read(path: Path) -> tuple[float, dict[str, torch.Tensor]]:
        state = read_esm2(path)[1]
        return sum(value.sum(dtype=torch.float64).item() for value in state.values()), state

    facts = []
    for path in paths:
        read(path)
        before = resident("Anon")
        total, state = read(path)
        all_ready.wait(120)
        maps = Path("/proc/self/smaps").read_text().split("VmFlags")
        share = sum(int(text.partition("\nPss:")[2].split()[0]) for text in maps if str(path) in text)
        facts.append((total, resident("Anon") - before, 1024 * share))
        all_ready.wait(120)
        del state
    tell.put(facts)
