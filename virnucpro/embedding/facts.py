"""What an embedding task really did: the engine, the device, how much, how long. Goes to run_info.json."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from virnucpro.embedding.device import Compute
from virnucpro.files import atomic


@dataclass(frozen=True, slots=True)
class StageFacts:
    """One task's facts.

    `tokens` were computed, in `seconds` for the whole stage; `compute_seconds` without reading the input and
    loading the model, where that is known. `batches` of v2.0, 0 for v1.0, whose batches have no budget to
    fill; `recomputed` rows came out of half precision not finite and were computed again in float32.
    """

    stage: str
    architecture: str
    engine: str
    attention: str
    device: str
    device_name: str
    precision: str
    world_size: int
    token_budget: int
    sequences: int
    unique_sequences: int
    tokens: int
    seconds: float
    compute_seconds: float
    batches: int
    recomputed: int

    @classmethod
    def of_file(
        cls,
        stage: str,
        engine: str,
        attention: str,
        compute: Compute,
        *,
        token_budget: int,
        sequences: int,
        tokens: int,
        started: float,
    ) -> Self:
        """The facts of a v1.0 task: one file, one device, every sequence embedded; begun at `started`
        (`time.monotonic()`)."""
        seconds = round(time.monotonic() - started, 3)
        return cls(
            stage=stage,
            architecture="v1.0",
            engine=engine,
            attention=attention,
            device=compute.device,
            device_name=compute.device_name,
            precision=compute.precision,
            world_size=1,
            token_budget=token_budget,
            sequences=sequences,
            unique_sequences=sequences,
            tokens=tokens,
            seconds=seconds,
            compute_seconds=seconds,
            batches=0,
            recomputed=0,
        )

    def write(self, path: Path) -> None:
        """Write as JSON."""
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=2) + "\n")
