"""How many tokens fit into the memory that is really free: measured by one small batch, not guessed."""

import os
from pathlib import Path

import torch

from virnucpro.models.attention import Packed
from virnucpro.models.esm2 import ESM2

_PROBE_TOKENS = 1_024
_PROTEIN = b"A" * 126
_SHARE = 0.8  # of what is free; the rest is for what else grows, fragments and neighbours
_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")
NO_LIMIT = 1 << 31


@torch.inference_mode()
def tokens_that_fit(model: ESM2, device: torch.device, ranks_here: int) -> int:
    """Tokens a batch that free memory has room for, by what one small batch really takes.

    On a GPU of its free memory; on CPU of this rank's part of what the machine, or the control group that it
    is shut into, has left. Half the small batch where that finds no room; `NO_LIMIT` when it leaves no trace,
    or the system does not say.
    """
    if device.type == "cpu" and not os.access(_PROC / "self" / "clear_refs", os.W_OK):
        return NO_LIMIT
    tokens, lengths = model.tokenize_flat([_PROTEIN] * (_PROBE_TOKENS // (len(_PROTEIN) + 2)))
    batch = Packed.of_flat(tokens, lengths).to(device)
    before = _in_use(device)
    try:
        model(batch)
    except torch.OutOfMemoryError:
        return _PROBE_TOKENS // 2
    taken = _peak(device) - before
    if taken <= 0:
        return NO_LIMIT
    return max(int(_free(device) / ranks_here * _SHARE / (taken / len(tokens))), 1)


def _in_use(device: torch.device) -> int:
    """Bytes in use; the peak is counted anew from here."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    (_PROC / "self" / "clear_refs").write_text("5")  # resets VmHWM
    return _kilobytes(_PROC / "self" / "status", "VmRSS")


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return _kilobytes(_PROC / "self" / "status", "VmHWM")


def _free(device: torch.device) -> int:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = _kilobytes(_PROC / "meminfo", "MemAvailable")
    own = (_PROC / "self" / "cgroup").read_text().rpartition("0::/")[2].strip()
    try:
        limit = int((_CGROUP / own / "memory.max").read_text())
        return min(free, limit - int((_CGROUP / own / "memory.current").read_text()))
    except (OSError, ValueError):  # no control group of version 2, or the word "max"
        return free


def _kilobytes(path: Path, field: str) -> int:
    """A field of one of Linux's accounts of memory, in bytes."""
    lines = dict(line.split(":", 1) for line in path.read_text().splitlines())
    return int(lines[field].split()[0]) * 1024
