"""What every step of the check is given, and how it says what it found."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import random_proteins
from virnucpro.models.attention import Packed
from virnucpro.models.esm2 import ESM2

# What a step found: `words` for the last table, `rows` for a table of its own, and whatever else is measured.
Found = dict[str, Any]
BOUNDS = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}  # relative L2, worst row


class Skipped(Exception):
    """A step cannot run on this device; the message says why."""


class Wrong(Exception):
    """A step ran and found something that must not be; the message says what."""


@dataclass(frozen=True, slots=True)
class Setting:
    """`device`; `shape` of the ESM-2 whose speed is measured, a name of `benchmarks.common.SHAPES`; `folder`,
    where weights and results go."""

    device: torch.device
    shape: str
    folder: Path

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def full(self) -> bool:
        """Whether sizes are those of real use; else they are small enough for a CPU."""
        return self.shape != "tiny"

    @property
    def small(self) -> str:
        """The shape for what would take long, or much memory, with the whole one."""
        return "t30_150M" if self.full else "tiny"

    @property
    def budgets(self) -> tuple[int, ...]:
        """Tokens a batch."""
        return (8_192, 16_384, 32_768) if self.full else (512,)

    @property
    def precisions(self) -> tuple[torch.dtype, ...]:
        """Those that have a bound; bfloat16 only where its products are the card's own."""
        has_bf16 = not self.on_gpu or torch.cuda.is_bf16_supported(including_emulation=False)
        return tuple(dtype for dtype in BOUNDS if has_bf16 or dtype != torch.bfloat16)

    def need_gpu(self, why: str) -> None:
        """Raise `Skipped` on a CPU."""
        if not self.on_gpu:
            raise Skipped(f"{why}: needs a GPU")


def require(holds: bool, words: str) -> None:
    """Raise `Wrong` unless something holds."""
    if not holds:
        raise Wrong(words)


def packed(model: ESM2, proteins: Sequence[str]) -> Packed:
    """A batch on the host."""
    return Packed.of_flat(*model.tokenize_flat([protein.encode() for protein in proteins]))


def alike(model: ESM2, residues: int, budget: int) -> Packed:
    """A batch on the host of proteins of one length, as full as `budget` tokens allow."""
    return packed(model, random_proteins(budget // (residues + 2), residues, residues))


def two_digits(number: float) -> float:
    """As a distance is worth saying."""
    return float(f"{number:.1e}")
