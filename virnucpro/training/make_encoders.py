"""Small encoders from a dataset: what they are trained on, in which steps, and what can be taken up again."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from virnucpro.files import atomic
from virnucpro.models.esm2 import ESM2
from virnucpro.sequences.frames import Frame
from virnucpro.training.epochs import Epoch, Log
from virnucpro.training.settings import Settings
from virnucpro.training.small_encoders import ESM2_CONFIG, LabelledFrames, train_encoders, write_encoders

VALIDATION_SHARE = 4  # of so many frames to train on, one to validate


def make_encoders(
    folder: Path, training: LabelledFrames, validation: LabelledFrames, settings: Settings, log: Log
) -> tuple[tuple[Path, Path], list[Epoch]]:
    """Both encoders, written into `folder`: DNABERT-S's folder and ESM-2's file; and all epochs.

    What is in `folder` already, of a killed training of the same frames, is not done again.
    """
    from virnucpro.training.pretrain import pretrain_esm2

    done, state = folder / "epochs.json", folder / "end_to_end.pt"
    if done.exists():
        return (folder / "dnabert_s", folder / "esm2.safetensors"), [
            Epoch(**epoch) for epoch in json.loads(done.read_text())
        ]
    device = torch.device(settings.device)
    esm2, masked = pretrain_esm2(
        folder / "masked",
        ESM2_CONFIG,
        _tokens(training.frames),
        _tokens(validation.frames),
        settings.masked_epochs,
        settings.seed,
        device,
        log,
    )
    pair, history = train_encoders(
        esm2, training, validation, settings.epochs, settings.seed, device, state, log
    )
    paths = write_encoders(folder, pair)
    with atomic(done) as partial:
        partial.write_text(json.dumps([asdict(epoch) for epoch in (*masked, *history)]))
    return paths, [*masked, *history]


def _tokens(frames: Sequence[Frame]) -> list[list[int]]:
    """The different proteins, in order."""
    return ESM2(ESM2_CONFIG).tokenize(list(dict.fromkeys(frame.protein for frame in frames)))
