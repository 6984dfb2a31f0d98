"""What a resumed run of ESM-2 believes: shards by their key, a plan by the journal, vectors by their sums."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from virnucpro.embedding import engine
from virnucpro.embedding.device import Compute
from virnucpro.embedding.esm2_v2 import Esm2
from virnucpro.embedding.h5_to_pt import Embeddings
from virnucpro.embedding.index import build_index
from virnucpro.embedding.store import ShardWriter, gather
from virnucpro.errors import InputError

KEY = b"k" * 32


def test_the_key_of_a_shard_names_all_that_its_rows_depend_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = tmp_path / "one.fa", tmp_path / "other.fa"
    one.write_text(">a\nMKV\n")
    other.write_text(">a\nMKL\n")
    index, model = build_index([[one]]), Esm2("m", tmp_path / "m.pt", "0" * 64, Compute("cpu", "fp32"))
    keys = [
        engine._key(index, model),
        engine._key(build_index([[other]]), model),
        engine._key(index, replace(model, sha256="1" * 64)),
        engine._key(index, replace(model, compute=Compute("cpu", "bf16"))),
        engine._key(index, replace(model, attention="plain")),
    ]
    for name in ("ENGINE", "__version__"):
        with monkeypatch.context() as patch:
            patch.setattr(engine, name, "another")
            keys.append(engine._key(index, model))
    assert len(set(keys)) == len(keys)
    assert engine._key(build_index([[one]]), replace(model, name="n")) == keys[0]


def test_a_damaged_plan_is_made_anew(tmp_path: Path) -> None:
    tokens = np.arange(3, 60, dtype=np.int64)
    first = engine._saved_plan(tmp_path, tokens, 100, 1)
    kept = engine._saved_plan(tmp_path, tokens, 50, 1)
    assert [batch.tolist() for batch in kept] == [batch.tolist() for batch in first]
    saved = tmp_path / "plan.npz"
    content = saved.read_bytes()
    for damaged in (content[: len(content) // 2], content[:200] + bytes([content[200] ^ 1]) + content[201:]):
        saved.write_bytes(damaged)
        made = engine._saved_plan(tmp_path, tokens, 50, 1)
        assert len(made) > len(first) and np.array_equal(np.sort(np.concatenate(made)), np.arange(57))


def test_a_bit_of_a_vector_in_the_hdf5_file_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "output_1.fa").write_text(">a\nMK\n>b\nMKL\n")
    index = build_index([[tmp_path / "output_1.fa"]])
    vectors = np.array([[1.5, 2.5], [3.25, 4.25]], dtype=np.float32)
    with ShardWriter(tmp_path, 0, KEY) as writer:
        writer.append(np.arange(2), vectors)
    path = tmp_path / "e.h5"
    gather(tmp_path, 2, KEY, index, {path: index.files}, {})
    with Embeddings(path) as stored:
        assert np.array_equal(stored.vectors(stored.find(["a", "b"])), vectors[index.unique_of])
    content = bytearray(path.read_bytes())
    content[content.index(vectors[0].tobytes())] ^= 1
    path.write_bytes(content)
    with Embeddings(path) as stored, pytest.raises(InputError, match="damaged"):
        stored.vectors(np.arange(2))
