"""What a rank does when the device has no room, numbers overflow, or one of its threads fails."""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.integration.test_engine import KEY, read, write_proteins
from virnucpro.embedding import engine, esm2_v2, memory
from virnucpro.embedding.device import Compute
from virnucpro.embedding.engine import embed_proteins
from virnucpro.embedding.esm2_v2 import Esm2
from virnucpro.embedding.index import ProteinReader, build_index
from virnucpro.embedding.memory import tokens_that_fit
from virnucpro.embedding.plan import plan
from virnucpro.embedding.ranks import Rank, check
from virnucpro.embedding.runner import Forward, run
from virnucpro.embedding.store import ShardWriter, gather, recover
from virnucpro.errors import OutOfMemory, RankFailed
from virnucpro.models.attention import Packed
from virnucpro.models.esm2 import ESM2, load_esm2
from virnucpro.pipeline.runtime_config import RuntimeConfig

CPU = torch.device("cpu")


class SmallCard(ESM2):
    """A model on a card with room for 200 tokens."""

    def forward(self, batch: Packed) -> torch.Tensor:
        if len(batch.tokens) > 200:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(batch)


@pytest.fixture
def model(fair_esm: Path) -> ESM2:
    return load_esm2(fair_esm, CPU)


def packed(model: ESM2, lengths: list[int]) -> Packed:
    return Packed.of_flat(*model.tokenize_flat([b"MK" * (n // 2) + b"L" * (n % 2) for n in lengths]))


@torch.inference_mode()
def test_a_batch_that_does_not_fit_is_halved_and_the_rest_made_smaller(model: ESM2) -> None:
    """P35: out of memory costs one batch its time, and the budget is lowered; rows keep their order."""
    batch = packed(model, [150, 90, 90, 60, 60, 30, 8])
    truth = model(batch)
    model.__class__ = SmallCard
    forward = Forward(model, CPU, limit=10_000)
    assert torch.allclose(forward(batch), truth, atol=1e-6)
    assert forward.limit < 300
    assert torch.allclose(forward(batch), truth, atol=1e-6)
    with pytest.raises(OutOfMemory, match="a sequence of 302 tokens has no room"):
        forward(packed(model, [300]))


class Greedy(ESM2):
    """A model that takes 100 kB a token."""

    def forward(self, batch: Packed) -> torch.Tensor:
        self.taken = np.ones(len(batch.tokens) * 100_000, dtype=np.uint8)
        return super().forward(batch)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux alone says what is in use")
def test_a_probe_says_what_fits(model: ESM2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` is what one batch really took, against the memory that is really left; ranks share it."""
    model.__class__ = Greedy
    available = memory._free(CPU)
    assert 0.7 < tokens_that_fit(model, CPU, 1) / (available * 0.8 / 100_000) < 1.2
    assert 0.7 < tokens_that_fit(model, CPU, 10) / (available * 0.08 / 100_000) < 1.2
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)  # a group with 400 MB left
    group = tmp_path / Path("/proc/self/cgroup").read_text().rpartition("0::/")[2].strip()
    group.mkdir(parents=True, exist_ok=True)
    (group / "memory.max").write_text("1000000000\n")
    (group / "memory.current").write_text("600000000\n")
    assert 0.9 < tokens_that_fit(model, CPU, 1) / 3200 < 1.1
    (group / "memory.max").write_text("max\n")
    assert tokens_that_fit(model, CPU, 1) > 10_000


def test_the_probe_limits_the_batches_of_a_run(
    fair_esm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine with room for 150 tokens: smaller batches, the same rows."""
    write_proteins(tmp_path / "output_1.fa", 40)
    esm2 = Esm2("tiny", fair_esm, "0" * 64, Compute("cpu", "fp32"))
    index = build_index([[tmp_path / "output_1.fa"]])
    todo = engine._save_todo(
        tmp_path, index, [np.arange(len(index.spans))], np.empty(0, int), index.spans["letters"] + 2, 1
    )
    sizes: list[int] = []
    real = ESM2.forward
    monkeypatch.setattr(esm2_v2, "tokens_that_fit", lambda *_: 150)
    monkeypatch.setattr(
        ESM2, "forward", lambda self, batch: sizes.append(len(batch.tokens)) or real(self, batch)
    )
    _, to_parent = multiprocessing.Pipe(duplex=False)
    esm2_v2.embed_share(
        Rank(0, 1, None, 1, tmp_path / "log", to_parent), todo, index.files, esm2, 10_000, KEY
    )
    assert max(sizes) <= 150 < sum(sizes)
    assert recover(tmp_path, 32, KEY, len(index.spans)).tolist() == list(range(len(index.spans)))


@pytest.mark.gpu
@torch.inference_mode()
def test_a_pass_never_stops_the_gpu(fair_esm: Path) -> None:
    """By torch's own account of what synchronizes; unit/test_gpu_passes.py asks without one."""
    cuda = torch.device("cuda")
    model = load_esm2(fair_esm, cuda, torch.float16)
    batch = packed(model, [30, 30, 12, 7]).pin_memory()
    model(batch.to(cuda, non_blocking=True))
    torch.cuda.set_sync_debug_mode("error")
    try:
        model(batch.to(cuda, non_blocking=True)).to("cpu", non_blocking=True)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.fixture
def weights_with(fair_esm: Path, tmp_path: Path) -> Callable[..., Path]:
    """A checkpoint of half-precision numbers that were changed by their names, as fair-esm has them."""

    def make(change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
        checkpoint = torch.load(fair_esm, weights_only=False)
        weights = {name.split(".", 2)[2]: value for name, value in checkpoint["model"].items()}
        for name, value in weights.items():
            if "inv_freq" not in name:
                value.copy_(value.half())
        change(weights)
        torch.save(checkpoint, tmp_path / "weights.pt")
        return tmp_path / "weights.pt"

    return make


def tryptophan(model: Path) -> int:
    return load_esm2(model, CPU).tokenize(["W"])[0][1]


def test_what_overflows_is_computed_again_in_float32(
    fair_esm: Path, weights_with: Callable[..., Path], tmp_path: Path
) -> None:
    """Rows that half precision made not finite are counted, reported, and never written so."""

    def overflow(weights: dict[str, torch.Tensor]) -> None:
        """One hidden number is beyond half precision for W alone, and counts for nothing afterwards."""
        weights["embed_tokens.weight"][tryptophan(fair_esm)] = torch.tensor([100.0, 0.0] * 16)
        weights["layers.0.fc1.weight"][7] = torch.tensor([3000.0, -3000.0] * 16)
        weights["layers.0.fc2.weight"][:, 7] = 0

    weights = weights_with(overflow)
    proteins = write_proteins(tmp_path / "output_1.fa", 40)
    outputs = {tmp_path / "e.h5": [tmp_path / "output_1.fa"]}
    half = Esm2("tiny", weights, "0" * 64, Compute("cpu", "fp16"))
    facts, failures = embed_proteins(outputs, half, [None, None], RuntimeConfig(token_budget=500), tmp_path)
    assert not failures
    with_w = {protein for protein in proteins if "W" in protein}
    assert facts.recomputed == len(with_w) > 0
    model = load_esm2(weights, CPU)
    _, vectors = read(tmp_path / "e.h5")
    for protein, found in zip(proteins, vectors, strict=True):
        with torch.inference_mode():
            truth = model(Packed.of(model.tokenize([protein]), CPU))[0].numpy()
        assert np.allclose(found, truth, atol=1e-6) == (protein in with_w)
        assert np.allclose(found, truth, atol=2e-2)


def test_what_is_not_finite_in_float32_either_is_named(
    fair_esm: Path, weights_with: Callable[..., Path], tmp_path: Path
) -> None:
    """P35: the run ends, and says for which sequence."""

    def spoil(weights: dict[str, torch.Tensor]) -> None:
        weights["embed_tokens.weight"][tryptophan(fair_esm), ::2] = float("nan")

    (tmp_path / "output_1.fa").write_text(">good\nMKL\n>the_bad_one\nMKWL\n")
    model = Esm2("tiny", weights_with(spoil), "0" * 64, Compute("cpu", "fp32"))
    outputs = {tmp_path / "e.h5": [tmp_path / "output_1.fa"]}
    _, failures = embed_proteins(outputs, model, [None], RuntimeConfig(), tmp_path)
    with pytest.raises(RankFailed, match=r"output_1\.fa: 'the_bad_one': its embedding is not finite"):
        check(failures, 1, "ESM-2 v2.0", tmp_path / "logs")
    assert not (tmp_path / "e.h5").exists()


@contextmanager
def share_of(folder: Path, model: ESM2) -> Iterator[tuple[esm2_v2.Share, list[np.ndarray]]]:
    """A rank's share of 40 proteins, in small batches."""
    write_proteins(folder / "output_1.fa", 40)
    index = build_index([[folder / "output_1.fa"]])
    batches = plan(index.spans["letters"].astype(np.int64) + 2, 200)
    with ProteinReader(index.files) as reader, ShardWriter(folder, 0, KEY) as writer:
        yield esm2_v2.Share(model, reader, index.spans, writer), batches


def test_a_failure_of_any_thread_is_the_failure_of_the_rank(
    model: ESM2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P16: nothing is swallowed, and no thread is waited for in vain."""

    def broken(*_: object) -> None:
        raise OSError("No space left on device")

    forward = Forward(model, CPU, 10_000)
    for where in ("tokenize_flat", "forward", None):
        with (
            monkeypatch.context() as patch,
            share_of(tmp_path, model) as (share, batches),
            pytest.raises(OSError, match="No space left"),
        ):
            if where:
                patch.setattr(model, where, broken)
            run(share.read(batches), forward, share.save if where else broken)


def test_the_runner_gives_the_rows_of_single_passes(model: ESM2, tmp_path: Path) -> None:
    """P14, P19: each row belongs to its protein, by distance, in the last batch as in the first."""
    with share_of(tmp_path, model) as (share, batches):
        run(share.read(batches), Forward(model, CPU, 10_000), share.save)
    assert len(batches) > 4 and not share.not_finite
    index = build_index([[tmp_path / "output_1.fa"]])
    assert recover(tmp_path, 32, KEY, len(index.spans)).tolist() == list(range(len(index.spans)))
    gather(tmp_path, 32, KEY, index, {tmp_path / "e.h5": index.files}, {})
    proteins = write_proteins(tmp_path / "output_1.fa", 40)
    with torch.inference_mode():
        truth = torch.cat([model(Packed.of(model.tokenize([p]), CPU)) for p in proteins]).numpy()
    assert np.abs(read(tmp_path / "e.h5")[1] - truth).max() < 1e-5
