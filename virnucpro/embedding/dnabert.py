"""DNABERT-S, v1.0: one file of frames in, one `output_N_DNABERT_S.pt` out."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from virnucpro.embedding.device import Compute
from virnucpro.embedding.facts import StageFacts
from virnucpro.embedding.plan import default_budget, embed
from virnucpro.errors import InputError
from virnucpro.files import file_number
from virnucpro.models.dnabert_s import DnabertS, load_dnabert_s
from virnucpro.models.weights import write_torch
from virnucpro.sequences.fasta import read_frames


def embed_nucleotide_files(
    folder: Path,
    fastas: Sequence[Path],
    output: Path,
    compute: Compute,
    alive: Callable[[], None] = lambda: None,
    attention: str = "auto",
) -> Iterator[tuple[Path, StageFacts]]:
    """Embed each FASTA of frames on its own with the DNABERT-S in `folder`; files with the original's layout,
    `{'nucleotide': [id], 'data': [{'label': id, 'mean_representation': [dim floats]}]}`, go to `output`.

    Gives each file as it is finished, with the facts of its making. `alive` is called after every batch.
    `attention` as in `load_dnabert_s`.
    """
    model: DnabertS | None = None
    for fasta in fastas:
        started = time.monotonic()
        frames = list(read_frames(fasta))
        if frames and model is None:
            model = load_dnabert_s(folder, compute.torch_device, compute.dtype, attention)
        target = output / f"output_{file_number(fasta)}_DNABERT_S.pt"
        yield target, _embed_file(model, frames, target, compute, started, alive)


def _embed_file(
    model: DnabertS | None,
    frames: list[tuple[str, str]],
    target: Path,
    compute: Compute,
    started: float,
    alive: Callable[[], None],
) -> StageFacts:
    ids = [id for id, _ in frames]
    budget, data = 0, []
    tokens: list[int] = []

    def done(batch: int) -> None:
        tokens.append(batch)
        alive()

    if model is not None:
        budget = default_budget(compute.torch_device, model.dim)
        vectors = embed(model, [bases for _, bases in frames], budget, compute.torch_device, done)
        if not np.isfinite(vectors).all():
            raise InputError(f"{target}: non-finite embeddings in {compute.precision}; use --precision fp32")
        data = [
            {"label": id, "mean_representation": vector}
            for id, vector in zip(ids, vectors.tolist(), strict=True)
        ]
    write_torch(target, {"nucleotide": ids, "data": data})
    return StageFacts.of_file(
        "DNABERT_S", "v1.0 per file", model.attention if model else "none", compute,
        token_budget=budget, sequences=len(ids), tokens=sum(tokens), started=started,
    )  # fmt: skip
