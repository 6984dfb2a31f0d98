"""DNABERT-S, v1.0: one file of frames in, one `output_N_DNABERT_S.pt` out."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from virnucpro.embedding.device import Compute
from virnucpro.embedding.per_file import Finished, Model, Stage
from virnucpro.embedding.plan import default_budget
from virnucpro.embedding.runner import Forward, Vectors, packed
from virnucpro.models.attention import Packed
from virnucpro.models.dnabert_s import load_dnabert_s
from virnucpro.models.weights import write_torch


def embed_nucleotide_files(
    folder: Path,
    fastas: Sequence[Path],
    compute: Compute,
    finished: Finished,
    alive: Callable[[], None] = lambda: None,
    attention: str = "auto",
) -> None:
    """Embed each FASTA of frames on its own with the DNABERT-S in `folder`, as `Stage.embed` says.
    `attention`: as in `load_dnabert_s`."""

    def load() -> Model[Packed]:
        model = load_dnabert_s(folder, compute.torch_device, compute.dtype, attention)
        budget = default_budget(compute.torch_device, model.dim)
        forward: Forward[Packed] = Forward(model, compute.torch_device, budget)
        return Model(forward, model.dim, model.attention, budget, partial(packed, model, token_budget=budget))

    stage = Stage("DNABERT_S", "v1.0 per file", "DNABERT_S", load, _write)
    stage.embed(fastas, compute, finished, alive)


def _write(path: Path, ids: list[str], vectors: Vectors) -> None:
    """The original's layout, `{'nucleotide': [id], 'data': [{'label': id, 'mean_representation': [dim
    floats]}]}`."""
    data = [
        {"label": id, "mean_representation": vector} for id, vector in zip(ids, vectors.tolist(), strict=True)
    ]
    write_torch(path, {"nucleotide": ids, "data": data})
