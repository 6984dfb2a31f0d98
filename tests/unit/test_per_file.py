"""v1.0's way, a file at a time: names, batches, and what the record says, on one device and on several."""

import json
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from virnucpro.embedding import dnabert
from virnucpro.embedding.device import Compute, choose
from virnucpro.embedding.dnabert import embed_nucleotide_files
from virnucpro.embedding.esm2_v1 import embed_protein_files
from virnucpro.embedding.facts import StageFacts
from virnucpro.embedding.per_file import EmbedFiles, embed_per_file
from virnucpro.embedding.plan import default_budget
from virnucpro.embedding.runner import Forward
from virnucpro.errors import InputError
from virnucpro.models.attention import Packed
from virnucpro.models.dnabert_s import DnabertS
from virnucpro.models.model_set import ModelSet

CPU = Compute("cpu", "fp32")


def note(path: Path, facts: StageFacts) -> None:
    """What a stage tells of each file; the ranks do, in their own processes."""
    assert path.exists() and facts.stage == "DNABERT_S"
    path.with_name(f"{path.stem}.noted").touch()


def write_frames(folder: Path, counts: list[int]) -> list[Path]:
    folder.mkdir()
    fastas = [folder / f"output_{number}.fa" for number in range(1, len(counts) + 1)]
    for fasta, count in zip(fastas, counts, strict=True):
        fasta.write_text("".join(f">{fasta.stem}_{n}F1\n{'ACGTTGCA' * (n % 60 + 1)}\n" for n in range(count)))
    return fastas


@pytest.mark.parametrize("ranks", [1, 2])
def test_p37_files_have_one_name_however_many_ranks_made_them(
    model_set: ModelSet, tmp_path: Path, ranks: int
) -> None:
    fastas = write_frames(tmp_path / "nucleotide", [3, 2, 0])
    embed_per_file(
        embed_nucleotide_files, model_set.dnabert_s, fastas, CPU,
        gpus=[None] * ranks, threads=2, logs=tmp_path / "logs", finished=note,
    )  # fmt: skip
    made = sorted(path.name for path in fastas[0].parent.iterdir() if path.suffix != ".fa")
    names = [f"output_{n}_DNABERT_S" for n in (1, 2, 3)]
    assert made == [f"{name}.{suffix}" for name in names for suffix in ("noted", "pt")]
    content = torch.load(fastas[0].with_name("output_1_DNABERT_S.pt"), weights_only=True)
    assert content["nucleotide"] == [entry["label"] for entry in content["data"]]
    assert content["nucleotide"] == [f"output_1_{n}F1" for n in range(3)]


def test_the_next_file_is_read_and_the_last_written_while_one_computes(
    model_set: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first pass waits until the second file is tokenized, and the first writing until it is computed:
    one after the other, neither would come."""
    fastas = write_frames(tmp_path / "nucleotide", [3, 4])
    read, computed, written = threading.Event(), threading.Event(), []
    tokenize, forward, write = DnabertS.tokenize, DnabertS.forward, dnabert._write

    def tokenizing(self: DnabertS, sequences: Sequence[str]) -> list[list[int]]:
        if len(sequences) == 4:
            read.set()
        return tokenize(self, sequences)

    def computing(self: DnabertS, batch: Packed) -> torch.Tensor:
        assert read.wait(60), "the second file is not read ahead"
        if batch.count == 4:
            computed.set()
        return forward(self, batch)

    def writing(path: Path, ids: list[str], vectors: np.ndarray) -> None:
        assert computed.wait(60), "the second file waits for the first to be written"
        written.append(len(ids))
        write(path, ids, vectors)

    monkeypatch.setattr(DnabertS, "tokenize", tokenizing)
    monkeypatch.setattr(DnabertS, "forward", computing)
    monkeypatch.setattr(dnabert, "_write", writing)
    embed_nucleotide_files(model_set.dnabert_s, fastas, CPU, note)
    assert written == [3, 4]


@pytest.mark.parametrize(
    ("embed_files", "model"), [(embed_nucleotide_files, "dnabert_s"), (embed_protein_files, "esm2")]
)
def test_what_a_file_must_not_hold_is_named(
    model_set: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embed_files: EmbedFiles, model: str
) -> None:
    """One id twice, in a file behind a good one; and a vector that is not finite."""
    first, second = write_frames(tmp_path / "frames", [2, 3])
    second.write_text(second.read_text().replace("output_2_2F1", "output_2_0F1"))

    def embed() -> None:
        embed_files(getattr(model_set, model), [first, second], CPU, lambda *_: None, int)

    with pytest.raises(InputError, match=f"{second}: an id comes twice"):
        embed()
    assert [path.stem[:8] for path in first.parent.glob("*.pt")] == ["output_1"]
    second.unlink()
    second.touch()
    call = Forward.__call__
    monkeypatch.setattr(Forward, "__call__", lambda self, batch: call(self, batch).fill_(np.inf))
    with pytest.raises(InputError, match=f"{first}: the embedding of 'output_1_0F1' is not finite in fp32"):
        embed()


def test_p39_a_budget_counts_tokens_not_sequences(
    model_set: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reference gave one option two units. Here a batch is as full as its tokens allow, and one of short
    sequences holds many more of them."""
    (fasta,) = write_frames(tmp_path / "nucleotide", [400])
    seen: list[Packed] = []
    forward = DnabertS.forward

    def watched(self: DnabertS, batch: Packed) -> torch.Tensor:
        seen.append(batch)
        return forward(self, batch)

    monkeypatch.setattr(DnabertS, "forward", watched)
    alive: list[None] = []
    made: list[tuple[Path, StageFacts]] = []
    embed_nucleotide_files(
        model_set.dnabert_s, [fasta], CPU, lambda *file: made.append(file), lambda: alive.append(None)
    )
    ((path, stage),) = made
    assert path == fasta.with_name("output_1_DNABERT_S.pt") and len(alive) >= len(seen)
    facts = asdict(stage)
    config = json.loads((model_set.dnabert_s / "config.json").read_text())
    budget = default_budget(CPU.torch_device, config["hidden_size"])
    assert facts["token_budget"] == budget
    tokens, counts = [len(batch.tokens) for batch in seen], [batch.count for batch in seen]
    assert sum(counts) == facts["sequences"] == 400 and sum(tokens) == facts["tokens"]
    assert all(0.95 * budget < n <= budget for n in tokens[:-1])
    assert counts[:-1] == sorted(counts[:-1]) and counts[-2] > 2 * counts[0]


def test_half_precision_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNABERT-S stays in float32 on a GPU unless a precision is named; ESM-2 v2.0 does not."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose("auto", "auto") == Compute("cuda", "fp32")
    assert choose("auto", "fp16") == Compute("cuda", "fp16")
    assert choose("auto", "auto", half_on_gpu=True) == Compute("cuda", "fp16")
    assert choose("auto", "auto", half_on_gpu=True, allowed=["fp32"]) == Compute("cuda", "fp32")


def test_a_model_set_says_what_precision_it_allows() -> None:
    with pytest.raises(InputError, match="--precision bf16: this model set allows fp32, fp16"):
        choose("cpu", "bf16", allowed=["fp32", "fp16"])


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_half_precision_of_dnabert_s_is_near(model_set: ModelSet, tmp_path: Path, dtype: str) -> None:
    """P15: mask, bias and query of one dtype, in batches of mixed lengths."""
    vectors = []
    for name in ("fp32", dtype):
        (fasta,) = write_frames(tmp_path / name, [70])
        embed_nucleotide_files(model_set.dnabert_s, [fasta], Compute("cpu", name), note)
        content = torch.load(fasta.with_name("output_1_DNABERT_S.pt"), weights_only=True)
        vectors.append(np.array([entry["mean_representation"] for entry in content["data"]]))
    distance = np.linalg.norm(vectors[0] - vectors[1], axis=1) / np.linalg.norm(vectors[0], axis=1)
    assert 0 < distance.max() < {"fp16": 5e-3, "bf16": 4e-2}[dtype]
