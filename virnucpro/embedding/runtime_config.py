"""How an ESM-2 v2.0 run goes about its work; nothing here changes what it computes."""

from dataclasses import dataclass
from pathlib import Path

from virnucpro.errors import InputError


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """`enable_checkpointing`: what an unfinished run with the same proteins and weights left in
    `checkpoint_dir` (default: beside the output) is used. Shards stay there until the result is whole, with
    `keep_shards` also then. `force_restart`: what is there is thrown away first. `token_budget`: tokens a
    batch, None for the device's default. `threads`: CPU threads, shared by the ranks. `rank_timeout`: seconds
    without progress after which a rank counts as stuck, None for 15 minutes on GPUs and an hour on CPU.
    Raises `InputError` for a number that no run could use.
    """

    enable_checkpointing: bool = False
    checkpoint_dir: Path | None = None
    force_restart: bool = False
    token_budget: int | None = None
    threads: int = 1
    keep_shards: bool = False
    rank_timeout: float | None = None

    def __post_init__(self) -> None:
        for name in ("token_budget", "threads", "rank_timeout"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise InputError(f"{name}: {value}; at least 1 is needed")
