"""The v2.0 engine with real ranks: shards, resume, failures, and what it gives to v1.0's files."""

import logging
import os
import random
import signal
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.embedding import engine
from virnucpro.embedding import ranks as ranks_module
from virnucpro.embedding.device import Compute, first_gpus, select_gpus
from virnucpro.embedding.engine import embed_proteins
from virnucpro.embedding.esm2_v2 import Esm2
from virnucpro.embedding.h5_to_pt import h5_to_pt, save_esm_pt
from virnucpro.embedding.index import build_index
from virnucpro.embedding.ranks import Rank, check, run_ranks
from virnucpro.embedding.runner import embed
from virnucpro.embedding.store import KEY_BYTES, ShardWriter, gather, recover
from virnucpro.errors import Busy, InputError, OutOfMemory, RankFailed
from virnucpro.models.esm2 import load_esm2
from virnucpro.pipeline.multi_gpu_inference import run_multi_gpu_inference
from virnucpro.pipeline.prediction import _stream_h5_to_pt_files
from virnucpro.pipeline.runtime_config import RuntimeConfig

CPU = Compute("cpu", "fp32")


def write_proteins(path: Path, number: int, seed: int = 1, prefix: str = "p") -> list[str]:
    letters = random.Random(seed)
    proteins = [
        "".join(letters.choices("ACDEFGHIKLMNPQRSTVWY", k=letters.randint(1, 90))) for _ in range(number)
    ]
    proteins[number // 2 :] = proteins[: number - number // 2]  # every other one comes twice
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f">{prefix}{i}\n{protein}\n" for i, protein in enumerate(proteins)))
    return proteins


def read(path: Path) -> tuple[list[str], np.ndarray]:
    with h5py.File(path) as file:
        return list(file["sequence_ids"].asstr()[:]), file["embeddings"][:]


@pytest.fixture
def esm2(fair_esm: Path) -> Esm2:
    return Esm2("tiny", fair_esm, "0" * 64, CPU)


@pytest.mark.parametrize(("number", "world_size"), [(40, 1), (40, 2), (2, 3), (1, 2), (0, 2)])
def test_every_row_belongs_to_its_id(fair_esm: Path, tmp_path: Path, number: int, world_size: int) -> None:
    """P27, P29, P45: any number of sequences on any number of ranks; ids and rows in input order."""
    proteins = write_proteins(tmp_path / "in" / "output_1.fa", number)
    config = {"model_type": "esm2", "model_name": "tiny", "weights": fair_esm, "device": "cpu"}
    output, failed = run_multi_gpu_inference(
        [tmp_path / "in" / "output_1.fa"], tmp_path, config, world_size, RuntimeConfig(token_budget=300)
    )
    assert failed == []
    ids, vectors = read(output)
    assert ids == [f"p{i}" for i in range(number)]
    assert vectors.shape == (number, 32) and vectors.dtype == np.float32
    truth = embed(load_esm2(fair_esm, torch.device("cpu")), proteins, 4096)
    assert np.allclose(vectors, truth, atol=1e-5)
    assert not (tmp_path / "shards").exists() or not any((tmp_path / "shards").iterdir())


def test_attributes_say_what_ran(esm2: Esm2, tmp_path: Path) -> None:
    write_proteins(tmp_path / "output_1.fa", 3)
    embed_proteins({tmp_path / "e.h5": [tmp_path / "output_1.fa"]}, esm2, [None], RuntimeConfig(), tmp_path)
    with h5py.File(tmp_path / "e.h5") as file:
        assert dict(file.attrs) == {
            "model": "tiny",
            "weights_sha256": "0" * 64,
            "precision": "fp32",
            "attention": "plain",
            "engine": "v2.0 packed",
            "version": "0.1.0",
        }


def test_two_samples_may_share_ids(esm2: Esm2, tmp_path: Path) -> None:
    a = write_proteins(tmp_path / "a" / "output_1.fa", 6, seed=1)
    b = write_proteins(tmp_path / "b" / "output_1.fa", 8, seed=2)
    outputs = {tmp_path / f"{s}.h5": [tmp_path / s / "output_1.fa"] for s in "ab"}
    facts, failures = embed_proteins(outputs, esm2, [None], RuntimeConfig(), tmp_path)
    assert not failures and facts.sequences == 14
    assert facts.unique_sequences == len({*a, *b}) < 14
    model = load_esm2(esm2.weights, torch.device("cpu"))
    for output, proteins in zip(outputs, (a, b), strict=True):
        assert np.allclose(read(output)[1], embed(model, proteins, 4096), atol=1e-5)


def test_repeated_ids_are_refused_before_any_rank_starts(esm2: Esm2, tmp_path: Path) -> None:
    """P30."""
    (tmp_path / "output_1.fa").write_text(">a\nMK\n>a\nMKL\n")
    with pytest.raises(InputError, match="'a' comes twice"):
        embed_proteins(
            {tmp_path / "e.h5": [tmp_path / "output_1.fa"]}, esm2, [None], RuntimeConfig(), tmp_path
        )


def test_wrapped_fasta_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "x.fa").write_text(">a\nMKL\nVV\n\n>b\nMKLVV\n")
    index = build_index([[tmp_path / "x.fa"]])
    assert index.unique_of.tolist() == [0, 0] and index.spans["letters"].tolist() == [5]


def test_checkpoint_resumes_and_force_restart_does_not(esm2: Esm2, tmp_path: Path) -> None:
    """P23 to P26, P34: a rerun takes what the first saved, with any world size; rows keep their ids."""
    proteins = write_proteins(tmp_path / "output_1.fa", 30)
    files = [tmp_path / "output_1.fa"]
    keep = RuntimeConfig(enable_checkpointing=True, checkpoint_dir=tmp_path / "kept", token_budget=200)

    wrong = Esm2("tiny", tmp_path / "esm2_cut.pt", esm2.sha256, CPU)
    wrong.weights.write_bytes(esm2.weights.read_bytes())
    whole = tmp_path / "whole.h5"
    embed_proteins({whole: files}, esm2, [None], keep, tmp_path)
    assert not any((tmp_path / "kept").iterdir()), "nothing is kept once the result is whole"

    stop = _stop_ranks_at_first_rows(tmp_path / "kept")
    with stop:
        _, failures = embed_proteins({tmp_path / "one.h5": files}, esm2, [None, None], keep, tmp_path)
    assert failures and not (tmp_path / "one.h5").exists()
    (folder,) = (tmp_path / "kept").iterdir()
    index = build_index([files])
    key = engine._key(index, replace(esm2, attention="plain"))
    assert folder.name == key.hex()
    assert len(recover(folder, 32, key, len(index.spans))) > 0
    for shard in folder.glob("rank_*.*s"):
        with shard.open("ab") as torn:
            torn.write(b"torn tail")
    facts, failures = embed_proteins({tmp_path / "two.h5": files}, esm2, [None, None, None], keep, tmp_path)
    assert not failures
    tokens = sum(len(protein) + 2 for protein in set(proteins))
    assert facts.tokens < tokens, "what was saved is not computed again"
    assert read(tmp_path / "two.h5")[0] == read(whole)[0]
    assert np.array_equal(read(tmp_path / "two.h5")[1], read(whole)[1]), "the same batches: the same bits"

    with _stop_ranks_at_first_rows(tmp_path / "kept"):
        embed_proteins({tmp_path / "one.h5": files}, esm2, [None, None], keep, tmp_path)
    again = RuntimeConfig(True, tmp_path / "kept", force_restart=True, token_budget=200)
    facts, _ = embed_proteins({tmp_path / "three.h5": files}, esm2, [None], again, tmp_path)
    assert facts.tokens == tokens


def test_two_runs_do_not_share_shards(esm2: Esm2, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While one has a checkpoint folder, another with the same proteins works on its own, and says so."""
    write_proteins(tmp_path / "output_1.fa", 3)
    keep = RuntimeConfig(enable_checkpointing=True, checkpoint_dir=tmp_path / "kept")
    files = [tmp_path / "output_1.fa"]
    name = engine._key(build_index([files]), replace(esm2, attention="plain")).hex()
    with engine._shard_folder(name, keep, tmp_path) as folder:
        before = sorted(folder.iterdir())
        _, failures = embed_proteins({tmp_path / "e.h5": files}, esm2, [None], keep, tmp_path)
        assert not failures and sorted(folder.iterdir()) == before
        assert f"another run is at work here (process {os.getpid()} on" in caplog.text
    own = engine._shard_folder(name, RuntimeConfig(), tmp_path)
    with own, pytest.raises(Busy, match="another run"), engine._shard_folder(name, RuntimeConfig(), tmp_path):
        pass
    assert read(tmp_path / "e.h5")[0] == ["p0", "p1", "p2"]


def test_kept_shards_serve_whoever_comes_next(esm2: Esm2, tmp_path: Path) -> None:
    """A task that is killed after its work is done, and run again, computes nothing."""
    write_proteins(tmp_path / "output_1.fa", 9)
    config = RuntimeConfig(enable_checkpointing=True, checkpoint_dir=tmp_path / "kept", keep_shards=True)
    told: list[int] = []
    for _ in range(2):
        embed_proteins(
            {tmp_path / "e.h5": [tmp_path / "output_1.fa"]}, esm2, [None], config, tmp_path,
            lambda facts: told.append(facts.tokens),
        )  # fmt: skip
    assert told[0] > 0 == told[1]


@given(st.data(), st.integers(1, 60), st.integers(1, 5), st.integers(1, 5))
def test_a_resumed_plan_is_what_is_missing(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    proteins: int,
    world_size: int,
    resumed_world_size: int,
) -> None:
    """P24, P25, P28, P34: nothing saved is done again, nothing missing is left out, whatever was saved and
    however many ranks go on."""
    folder = tmp_path_factory.mktemp("resumed")
    lengths = data.draw(st.lists(st.integers(1, 90), min_size=proteins, max_size=proteins))
    (folder / "output_1.fa").write_text(
        "".join(f">p{n}\n{'MK' * n}{'L' * tail}\n" for n, tail in enumerate(lengths))
    )
    index = build_index([[folder / "output_1.fa"]])
    tokens = index.spans["letters"].astype(np.int64) + 2
    batches = engine._saved_plan(folder, tokens, 300, world_size)
    done = data.draw(st.lists(st.integers(0, proteins - 1), unique=True))
    again = engine._saved_plan(folder, tokens, 300, resumed_world_size)
    assert [batch.tolist() for batch in again] == [batch.tolist() for batch in batches], "the batches stay"
    todo = engine._save_todo(folder, index, again, np.array(done, dtype=np.int64), tokens, resumed_world_size)
    left, rank_of = np.load(folder / "order.npy").tolist(), np.load(folder / "rank_of.npy")
    assert sorted(left + done) == list(range(proteins))
    assert todo.tokens == tokens[left].sum()
    assert len(rank_of) == todo.batches == len(np.load(folder / "ends.npy"))
    assert set(rank_of.tolist()) <= set(range(resumed_world_size))


def test_the_run_reports_what_it_did(esm2: Esm2, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """P44, P48: tokens, batches and how full they are of the budget that was used; every rank has a log."""
    proteins = ["M" * length for length in (98, 48, 47, 30)]  # 100, 50 + 49, 32 tokens
    lines = [f">{n}\n{protein}\n" for n, protein in enumerate([*proteins, proteins[0]])]
    (tmp_path / "output_1.fa").write_text("".join(lines))
    with caplog.at_level(logging.INFO):
        facts, failures = embed_proteins(
            {tmp_path / "e.h5": [tmp_path / "output_1.fa"]},
            esm2,
            [None],
            RuntimeConfig(token_budget=100),
            tmp_path,
        )
    assert not failures
    assert (facts.sequences, facts.unique_sequences, facts.tokens, facts.batches) == (5, 4, 231, 3)
    assert (facts.token_budget, facts.attention, facts.device_name) == (100, "plain", "CPU")
    assert 0 < facts.compute_seconds < facts.seconds
    assert "batches 77 % full" in caplog.text  # 231 of 3 x 100
    assert f"{231 / facts.compute_seconds:.0f} tokens a second" in caplog.text
    log = (tmp_path / "logs" / "rank_0.log").read_text()
    assert "3 batches" in log and "plain attention, up to 100 tokens a batch" in log and "done in" in log


@pytest.mark.parametrize("wrong", [{"token_budget": 0}, {"token_budget": -5}, {"threads": 0}])
def test_a_configuration_that_cannot_run_is_refused_at_once(wrong: dict[str, int]) -> None:
    """P46: not by a rank, minutes later."""
    with pytest.raises(InputError, match="at least 1"):
        RuntimeConfig(**wrong)


class _stop_ranks_at_first_rows:
    """Kill one rank (SIGKILL) as soon as some shard holds rows."""

    def __init__(self, checkpoints: Path) -> None:
        self._checkpoints = checkpoints
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.is_set():
            if any(path.stat().st_size > KEY_BYTES for path in self._checkpoints.rglob("*.rows")):
                for child in torch.multiprocessing.active_children():
                    os.kill(child.pid or 0, signal.SIGKILL)
                return
            time.sleep(0.001)


KEY = b"k" * KEY_BYTES


def files_of(folder: Path, rank: int) -> tuple[Path, Path]:
    """The rows and the vectors of a rank's only shard."""
    (rows,) = folder.glob(f"rank_{rank}-*.rows")
    return rows, rows.with_suffix(".vectors")


def write_shard(folder: Path, rank: int, batches: dict[int, np.ndarray]) -> None:
    """A shard of batches: first protein number, vectors."""
    with ShardWriter(folder, rank, KEY) as shard:
        for first, vectors in batches.items():
            shard.append(np.arange(first, first + len(vectors)), vectors)


def test_torn_and_damaged_batches_are_cut_off(tmp_path: Path) -> None:
    """P15, P24: what a crash tore, or a disk changed, does not count, nor does what stands after it."""
    vectors = np.arange(24, dtype=np.float32).reshape(6, 4)
    write_shard(tmp_path, 0, {0: vectors[:3], 3: vectors[3:5], 5: vectors[5:]})
    rows, data = files_of(tmp_path, 0)
    whole_rows, whole_data = rows.read_bytes(), data.read_bytes()

    def safe(new_rows: bytes, new_data: bytes) -> list[int]:
        rows.write_bytes(new_rows)
        data.write_bytes(new_data)
        found = recover(tmp_path, 4, KEY, 6).tolist()
        assert (rows.read_bytes(), data.read_bytes()) == (new_rows, new_data), (
            "whoever wrote it may still write"
        )
        return found

    flipped = bytearray(whole_data)
    flipped[3 * 16 + 5] ^= 1
    seal = bytearray(whole_rows)
    seal[32 + 6 * 8 + 16] ^= 1  # the first protein number of the second batch
    foreign = b"K" + whole_rows[1:]
    assert safe(whole_rows, whole_data) == [0, 1, 2, 3, 4, 5]
    assert safe(whole_rows[:-1], whole_data) == [0, 1, 2, 3, 4]
    assert safe(whole_rows, whole_data[:-1]) == [0, 1, 2, 3, 4]
    assert safe(whole_rows, whole_data + b"more") == [0, 1, 2, 3, 4, 5]
    assert safe(whole_rows, bytes(flipped)) == [0, 1, 2]
    assert safe(bytes(seal), whole_data) == [0, 1, 2]
    assert safe(b"", whole_data) == []
    assert safe(foreign, whole_data) == [], "rows of other proteins, another model or version"
    assert safe(whole_rows, whole_data) == [0, 1, 2, 3, 4, 5]
    assert recover(tmp_path, 4, KEY, 5).tolist() == [0, 1, 2, 3, 4], "a number that no protein has"
    data.unlink()
    assert recover(tmp_path, 4, KEY, 6).tolist() == []


def test_an_empty_shard_is_no_obstacle(tmp_path: Path) -> None:
    """P29: a rank that had nothing to do, or died before its first row, leaves an empty file."""
    write_proteins(tmp_path / "output_1.fa", 4)
    index = build_index([[tmp_path / "output_1.fa"]])
    vectors = np.arange(len(index.spans) * 4, dtype=np.float32).reshape(-1, 4)
    write_shard(tmp_path, 0, {})
    write_shard(tmp_path, 1, {0: vectors})
    (tmp_path / "rank_2-00.rows").touch()
    write_shard(tmp_path, 3, {1: vectors[1:]})  # of a rank that outlived its parent: the first one counts
    assert recover(tmp_path, 4, KEY, len(index.spans)).tolist() == list(range(len(index.spans)))
    gather(tmp_path, 4, KEY, index, {tmp_path / "e.h5": index.files}, {})
    assert np.array_equal(read(tmp_path / "e.h5")[1], vectors[index.unique_of])


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("lost", "of 2 proteins have no embedding"),
        ("foreign", "2 of 2 proteins have no embedding"),
        ("damaged", "2 of 2 proteins have no embedding"),
        ("not finite", "non-finite"),
    ],
)
def test_gather_believes_nothing(tmp_path: Path, how: str, words: str) -> None:
    """P13, P25: a row lost, foreign, changed on disk or not finite ends the run; no file is left behind."""
    (tmp_path / "output_1.fa").write_text(">a\nMK\n>b\nMKL\n")
    index = build_index([[tmp_path / "output_1.fa"]])
    vectors = np.ones((2, 4), dtype=np.float32)
    if how == "not finite":
        vectors[1, 2] = np.inf
    write_shard(tmp_path, 0, {0: vectors[:1] if how == "lost" else vectors})
    if how == "damaged":
        _, vectors_file = files_of(tmp_path, 0)
        data = bytearray(vectors_file.read_bytes())
        data[7] ^= 1
        vectors_file.write_bytes(data)
    key = b"K" * 32 if how == "foreign" else KEY
    with pytest.raises(RuntimeError, match=words):
        gather(tmp_path, 4, key, index, {tmp_path / "e.h5": index.files}, {})
    assert not list(tmp_path.glob("*.h5*")) and not list(tmp_path.glob(".*"))


def _sleep_or_fail(rank: Rank, how: str) -> None:
    print(f"CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']}", flush=True)
    if rank.number == 1:
        if how == "raise":
            raise ValueError("something broke")
        if how == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory")
        if how == "input":
            raise InputError("weights.pt: damaged")
    time.sleep(0 if how == "fine" else 600)


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ("raise", RankFailed, ["1 of 3 ranks failed: rank 1 (exit code 1", "rank_1.log", "something broke"]),
        ("memory", OutOfMemory, ["rank 1 (exit code 75", "out of GPU memory"]),
        ("input", InputError, ["rank 1 (exit code 2", "weights.pt: damaged"]),
    ],
)
def test_first_failure_ends_the_stage(
    tmp_path: Path, how: str, error: type[Exception], words: list[str]
) -> None:
    """P35: no retry that never starts, no wait for the others; the rank and its log are named."""
    failures = run_ranks(_sleep_or_fail, (how,), gpus=[None] * 3, threads=3, logs=tmp_path)
    assert failures == [1]
    assert torch.multiprocessing.active_children() == []
    with pytest.raises(error) as caught:
        check(failures, 3, "ESM-2 v2.0", tmp_path)
    assert all(word in str(caught.value) for word in words), caught.value
    assert isinstance(caught.value, RuntimeError) == (how == "raise")


def test_killed_rank_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks_module, "_LOOK_EVERY", 0.2)

    def kill() -> None:
        if (tmp_path / "rank_1.log").exists() and "VISIBLE" in (tmp_path / "rank_1.log").read_text():
            (child,) = (c for c in torch.multiprocessing.active_children() if c.name == "rank 1")
            os.kill(child.pid or 0, signal.SIGKILL)

    failures = run_ranks(
        _sleep_or_fail, ("sleep",), gpus=[None] * 2, threads=1, logs=tmp_path, heartbeat=kill
    )
    assert str(failures[0]) == f"rank 1 (killed by signal 9; log: {tmp_path / 'rank_1.log'})"


def test_each_rank_sees_its_card_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P36: ids are those of CUDA_VISIBLE_DEVICES, numbers or UUIDs, never the rank's own number."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5c")
    assert run_ranks(_sleep_or_fail, ("fine",), gpus=first_gpus(2), threads=1, logs=tmp_path) == []
    logs = [(tmp_path / f"rank_{rank}.log").read_text() for rank in (0, 1)]
    assert "CUDA_VISIBLE_DEVICES=3\n" in logs[0] and "CUDA_VISIBLE_DEVICES=GPU-5c\n" in logs[1]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,GPU-5c"
    with pytest.raises(InputError, match="3 GPUs were asked for, 2 are visible"):
        first_gpus(3)
    with pytest.raises(InputError, match="no GPU 0 here"):
        select_gpus("3,0")


def test_h5_to_pt_with_a_real_feature_file(golden: Path, tmp_path: Path) -> None:
    """P21: ids come from the stored layout of the original's DNABERT-S file, rows by id in any order."""
    features = golden / "test_with_orfs_nucleotide" / "output_1_DNABERT_S.pt"
    esm = torch.load(golden / "test_with_orfs_protein" / "output_1_ESM.pt", weights_only=True)
    with h5py.File(tmp_path / "e.h5", "w") as file:
        ids = ["someone_else", *esm["proteins"]]
        file.create_dataset("sequence_ids", data=ids, dtype=h5py.string_dtype())
        file["embeddings"] = np.stack([np.zeros(2560, np.float32), *(row.numpy() for row in esm["data"])])
    assert _stream_h5_to_pt_files is h5_to_pt
    (written,) = _stream_h5_to_pt_files(
        h5_path=tmp_path / "e.h5", output_dir=tmp_path, nucleotide_feature_files=[features]
    )
    assert written.name == "output_1_ESM.pt"
    result = torch.load(written, weights_only=True)
    wanted = torch.load(features, weights_only=True)["nucleotide"]
    assert result["proteins"] == wanted
    by_id = dict(zip(esm["proteins"], esm["data"], strict=True))
    assert all(torch.equal(row, by_id[id]) for id, row in zip(wanted, result["data"], strict=True))


def test_h5_to_pt_refuses_a_file_it_knows_half_of(tmp_path: Path) -> None:
    """P22: one missing id stops it; another task's file is left to that task."""
    with h5py.File(tmp_path / "e.h5", "w") as file:
        file.create_dataset("sequence_ids", data=["a", "b"], dtype=h5py.string_dtype())
        file["embeddings"] = np.ones((2, 4), np.float32)
    for number, ids in enumerate((["a", "b"], ["x", "y"], ["a", "x"]), 1):
        torch.save({"nucleotide": ids, "data": []}, tmp_path / f"output_{number}_DNABERT_S.pt")
    features = [tmp_path / f"output_{n}_DNABERT_S.pt" for n in (1, 2, 3)]
    assert [path.name for path in h5_to_pt(tmp_path / "e.h5", tmp_path, features[:2])] == ["output_1_ESM.pt"]
    with pytest.raises(InputError, match=r"no embedding for id 'x' of .*output_3"):
        h5_to_pt(tmp_path / "e.h5", tmp_path, features)
    with pytest.raises(InputError, match="holds no id"):
        h5_to_pt(tmp_path / "e.h5", tmp_path, features[1:2])


def test_vectors_lie_outside_the_pickle(golden: Path, tmp_path: Path) -> None:
    """P40: a pickle of this protocol ends at 4 GiB; a file of vectors does not."""
    vectors = torch.randn(50, 2560)
    save_esm_pt(tmp_path / "output_1_ESM.pt", [f"p{n}" for n in range(50)], vectors)
    with zipfile.ZipFile(tmp_path / "output_1_ESM.pt") as archive:
        sizes = {Path(entry.filename).name: entry.file_size for entry in archive.infolist()}
    assert sizes["data.pkl"] < 20_000 < vectors.nbytes <= sum(sizes.values())


def test_a_gpu_that_is_not_there_is_an_error(fair_esm: Path, tmp_path: Path) -> None:
    write_proteins(tmp_path / "output_1.fa", 1)
    config = {"model_type": "esm2", "model_name": "tiny", "weights": fair_esm, "device": "cuda"}
    with pytest.raises(InputError, match="none is visible"):
        run_multi_gpu_inference([tmp_path / "output_1.fa"], tmp_path, config, 1)
    with pytest.raises(InputError, match=r"esm2_nowhere.pt"):
        run_multi_gpu_inference([], tmp_path, {"model_type": "esm2", "model_name": "esm2_nowhere"}, 1)
