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
    """One task's facts; `seconds` is the time in the stage, model loading included."""

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
            seconds=round(time.monotonic() - started, 3),
        )

    def write(self, path: Path) -> None:
        """Write as JSON."""
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=2) + "\n")
