"""What an embedding task really did: the engine, the device, how much, how long. Goes to run_info.json."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

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

    def write(self, path: Path) -> None:
        """Write as JSON."""
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=2) + "\n")
