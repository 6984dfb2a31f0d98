"""How an ESM-2 v2.0 run goes about its work; nothing here changes what it computes."""

from dataclasses import dataclass
from pathlib import Path

from virnucpro.errors import InputError


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """`enable_checkpointing`: shards stay in `checkpoint_dir` (default: beside the output) until the result
    is whole, and a later run with the same proteins and weights goes on from them. `force_restart`: shards
    found there are thrown away first. `token_budget`: tokens a batch, None for the device's default.
    `threads`: CPU threads, shared by the ranks. Raises `InputError` for a number that no run could use.
    """

    enable_checkpointing: bool = False
    checkpoint_dir: Path | None = None
    force_restart: bool = False
    token_budget: int | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        for name in ("token_budget", "threads"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise InputError(f"{name}: {value}; at least 1 is needed")
