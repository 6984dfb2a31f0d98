"""Everything, beside the dataset and the encoders, that changes what a training gives."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """`composition_epochs`: passes of the composition model. `frames`: most open frames that encoders and
    classifier are trained on, of each class the same share. `masked_epochs`: passes over their proteins with
    residues masked; `epochs`: passes of both encoders end to end. The others as on the command line."""

    window_length: int = 500
    frames: int = 24_000
    masked_epochs: int = 2
    epochs: int = 2
    seed: int = 1
    threads: int = 1
    device: str = "cpu"
    composition_epochs: int = 12
