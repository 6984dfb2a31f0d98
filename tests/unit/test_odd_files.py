"""Whole files with odd things in them: a right result, or one line that names the file, and nothing else."""

import json
import sys
import warnings
import zipfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from tests.unit.test_damaged_files import (
    IDS,
    NUCLEOTIDE,
    ROWS,
    copied,
    hugging_face,
    make_h5,
    read_h5,
    with_bin,
    write_h5,
)
from virnucpro.calling.merge import read_nucleotide, read_protein
from virnucpro.calling.predict import read_merged
from virnucpro.embedding.plain import load_plain
from virnucpro.errors import InputError
from virnucpro.models.classifier import MLPClassifier, load_classifier, load_original_classifier
from virnucpro.models.dnabert_s import DnabertConfig, load_dnabert_s
from virnucpro.models.esm2_weights import read_esm2
from virnucpro.models.model_set import ModelSet
from virnucpro.models.weights import read_config, read_folder, read_torch, write_safetensors

CPU = torch.device("cpu")


class Original(MLPClassifier):
    """Pickled under the original's name."""

    __qualname__ = "MLPClassifier"


DEEP: list[Any] = []
for _ in range(300):
    DEEP = [DEEP]
NO_JSON = [(), b"x", float("nan")]
ODD: list[Any] = [
    *(None, True, False, 0, -1, 3, 1.5, 10**400, 2**40, -(2**63), 1e300, "", "x", "\ud800", "a\tb", "a b"),
    *("../x", "/etc/passwd", ".", [], {}, [1], ["a", "a"], {"a": 1}, [None], [[1.0]], DEEP),
]
TENSORS: list[Any] = [
    torch.ones(0),
    torch.tensor(1.0),
    torch.ones(16, dtype=torch.int64),
    torch.ones(16, dtype=torch.complex64),
    torch.ones(16, device="meta"),
    torch.ones(16).to_sparse(),
    torch.nn.Parameter(torch.ones(16)),
    torch.ones(2, 3),
    torch.nn.Parameter(torch.ones(12, 16)),
    torch.full((16,), float("nan")),
    torch.zeros(1).expand(10**12),
    torch.zeros(1, 1).expand(10**6, 10**6),
    torch.float32,
]


def with_each(content: Any, odd: Any) -> Iterator[Any]:
    """Copies of nested dictionaries, lists and namespaces, each with `odd` somewhere."""
    yield odd
    if isinstance(content, dict):
        for key in content:
            yield from (content | {key: inner} for inner in with_each(content[key], odd))
            if isinstance(odd, (str, int, float, bytes, tuple, type(None))):
                yield {odd if other == key else other: value for other, value in content.items()}
    elif isinstance(content, list) and content:
        yield [*content[:-1], odd, content[-1]]
        yield from ([*content[:-1], inner] for inner in with_each(content[-1], odd))
    elif isinstance(content, Namespace):
        yield from (Namespace(**changed) for changed in with_each(vars(content), odd) if _names(changed))


def _names(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def is_table(result: Any) -> bool:
    ids, rows = result
    rows = np.asarray(rows)
    words = all(isinstance(id, str) and id.encode().split() == [id.encode()] for id in ids)
    return words and len(set(ids)) == len(ids) == len(rows) and rows.dtype == np.float32 and rows.ndim == 2


STEPS: dict[str, tuple[Any, Callable[[Path], Any], Callable[[Any], bool]]] = {
    "output_1_DNABERT_S.pt": (NUCLEOTIDE, read_nucleotide, is_table),
    "output_1_ESM.pt": ({"proteins": IDS, "data": list(ROWS)}, read_protein, is_table),
    "output_1_merged.pt": ({"ids": IDS, "data": ROWS}, read_merged, is_table),
}


@pytest.mark.parametrize("name", STEPS)
def test_odd_things_in_a_steps_file(name: str, tmp_path: Path) -> None:
    content, read, sound = STEPS[name]
    path = tmp_path / name
    for odd in [*ODD, *NO_JSON, *(TENSORS if read is not read_nucleotide else [])]:
        for changed in with_each(content, odd):
            torch.save(changed, path)
            try:
                assert sound(read(path)), odd
            except InputError as error:
                assert str(path) in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("row", [torch.zeros(1).expand(10**12), torch.ones(16, dtype=torch.int64)])
def test_rows_that_are_not_stored_as_numbers(row: torch.Tensor, tmp_path: Path) -> None:
    """Four bytes can be shown as four terabytes."""
    protein, merged = tmp_path / "output_1_ESM.pt", tmp_path / "output_1_merged.pt"
    torch.save({"proteins": ["a"], "data": [row]}, protein)
    with pytest.raises(InputError, match=f"{protein}: the row of a is not a vector"):
        read_protein(protein)
    torch.save({"ids": ["a"], "data": row[None]}, merged)
    with pytest.raises(InputError, match=f"{merged}: 1 ids do not fit"):
        read_merged(merged)


def test_odd_things_in_a_checkpoint_of_fair_esm(fair_esm: Path, tmp_path: Path) -> None:
    whole = torch.load(fair_esm, weights_only=False)
    name = list(whole["model"])[-1]
    path = tmp_path / "esm2.pt"
    for odd in [*ODD, *NO_JSON, *TENSORS]:
        for changed in with_each(whole | {"model": {name: whole["model"][name]}}, odd):
            if isinstance(changed, dict) and isinstance(changed.get("model"), dict):
                changed["model"] = whole["model"] | changed["model"]
            torch.save(changed, path)
            try:
                config, state = read_esm2(path)
            except InputError as error:
                assert str(path) in str(error) and "\n" not in str(error)
            else:
                assert (config.num_layers, config.embed_dim, config.attention_heads) == (3, 32, 4)
                assert all(value.is_floating_point() for value in state.values())


def test_odd_things_in_an_original_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "MLPClassifier", Original, raising=False)
    path = tmp_path / "500_model.pth"
    for odd in [*ODD, *NO_JSON, *TENSORS]:
        for place in ("_modules", "_parameters", "_buffers", "weight", "bias", "itself"):
            model = Original(6, 5)
            model.__class__.__module__ = "__main__"
            if place == "itself":
                model._modules["hidden_layer"] = model  # type: ignore[assignment]
            else:
                holder = model.hidden_layer
                vars(model if place == "_modules" else holder)[place] = odd
                if place in ("weight", "bias"):
                    vars(holder)["_parameters"] = dict(holder.named_parameters()) | {place: odd}
            torch.save(model, path)
            try:
                found = load_original_classifier(path)
            except InputError as error:
                assert str(path) in str(error) and "\n" not in str(error)
            else:
                assert place == "_buffers" and found.hidden_layer.weight.shape == (5, 6)


KINDS_OF_TENSOR: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "complex": lambda weight: weight.to(torch.complex64),
    "sparse": torch.Tensor.to_sparse,
    "of no memory": lambda weight: weight.to("meta"),
    "whole numbers": lambda weight: weight.to(torch.int64),
    "none": lambda weight: None,
}


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        (kind, other)
        for kind in ("fair-esm", "DNABERT-S: bin", "classifier.pth")
        for other in KINDS_OF_TENSOR
        if (kind, other) != ("classifier.pth", "whole numbers")  # which become the same numbers
    ],
)
def test_a_weight_of_another_kind(
    kind: str, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    change = KINDS_OF_TENSOR[other]
    if kind == "classifier.pth":
        monkeypatch.setattr(sys.modules["__main__"], "MLPClassifier", Original, raising=False)
        content = Original(6, 5)
        content.__class__.__module__ = "__main__"
        vars(content.bn1)["_buffers"] |= {"running_mean": change(torch.ones(5))}
        path = tmp_path / "500_model.pth"
        read: Callable[[], object] = partial(load_original_classifier, path)
    elif kind == "fair-esm":
        content = torch.load(request.getfixturevalue("fair_esm"), weights_only=False)
        name = "encoder.sentence_encoder.emb_layer_norm_after.bias"
        content["model"][name] = change(content["model"][name])
        path = tmp_path / "esm2.pt"
        read = partial(read_esm2, path)
    else:
        with_bin(tmp_path, request)
        path = tmp_path / "pytorch_model.bin"
        content = torch.load(path)
        content["bert.embeddings.LayerNorm.bias"] = change(content["bert.embeddings.LayerNorm.bias"])
        read = partial(load_dnabert_s, tmp_path, CPU)
    torch.save(content, path)
    with warnings.catch_warnings(), pytest.raises(InputError) as caught:
        warnings.simplefilter("ignore")  # torch warns where it drops an imaginary part, and goes on
        read()
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("content", [[1], torch.ones(2), {1: torch.ones(2)}, {"a": [torch.ones(2)]}, None])
def test_weights_that_are_none(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pytorch_model.bin: not weights"):
        read_folder(tmp_path)
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(InputError, match=r"model.safetensors: damaged, or not a safetensors file"):
        read_folder(tmp_path)


@pytest.mark.parametrize("shape", [(0, 0), (5, 0), (0, 6)])
def test_a_classifier_of_no_size(shape: tuple[int, int], tmp_path: Path) -> None:
    state = {"hidden_layer.weight": torch.zeros(shape), "output_layer.weight": torch.zeros(2, shape[0])}
    path = tmp_path / "classifier.safetensors"
    write_safetensors(path, state, {"classifier": "{}"})
    with pytest.raises(InputError, match=rf"{path}: not a VirNucPro classifier \(hidden_layer"):
        load_classifier(path)


def few(json_file: dict[str, Any], *keys: str) -> dict[str, Any]:
    """The keys that are read, and of what is nested the first ones."""
    kept = {key: json_file[key] for key in keys}
    return {
        key: dict([*value.items()][:4]) if isinstance(value, dict) and key != "files" else value
        for key, value in kept.items()
    }


def read_model(folder: Path) -> object:
    return load_dnabert_s(folder, CPU)


JSON: dict[str, tuple[str, Callable[..., object], Callable[[Path], object], tuple[str, ...]]] = {
    "manifest": (
        "manifest.json",
        copied("model_set"),
        ModelSet.open,
        (
            *("name", "window_length", "esm2", "dnabert_s", "classifier"),
            *("precision", "embedding_sizes", "files"),
        ),
    ),
    "hub: config": (
        "config.json",
        hugging_face,
        read_esm2,
        (
            *("model_type", "position_embedding_type", "layer_norm_eps"),
            *("num_hidden_layers", "hidden_size", "num_attention_heads", "token_dropout"),
        ),
    ),
    "hub: index": ("model.safetensors.index.json", hugging_face, read_esm2, ("weight_map",)),
    "DNABERT-S: config": (
        "config.json",
        copied("dnabert_folder"),
        read_model,
        tuple(DnabertConfig.__slots__),
    ),
    "DNABERT-S: tokenizer": (
        "tokenizer.json",
        copied("dnabert_folder"),
        read_model,
        ("added_tokens", "pre_tokenizer", "post_processor", "model"),
    ),
}


@pytest.mark.parametrize("kind", JSON)
def test_odd_things_in_a_json_file(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    name, make, read, keys = JSON[kind]
    make(tmp_path, request)
    path = tmp_path / name
    whole = json.loads(path.read_text())
    read(tmp_path)
    refused = 0
    for odd in ODD:
        for changed in with_each(few(whole, *keys), odd):
            path.write_text(json.dumps(whole | changed if isinstance(changed, dict) else changed))
            try:
                read(tmp_path)
            except InputError as error:
                refused += 1
                assert str(tmp_path) in str(error) and "\n" not in str(error)
    assert refused > len(ODD)


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "1", '"x"', "{", '{"a": \ud800}', "nul", "\0"])
def test_json_that_is_no_object(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match=rf"{path}: not (JSON|a JSON object)"):
        read_config(path)
    path = tmp_path / "manifest.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match=rf"{path}: not a model set's manifest"):
        ModelSet.open(tmp_path)


@pytest.mark.parametrize(
    "pickled",
    [
        b"",
        b".",
        b"]a.",
        b"h\x05.",
        b"}]K\x01s.",  # a list as key
        b"K\x01K\x02b.",  # a state for a number
        b"\x8c\x01\xff.",  # text that is none
        b"I9x\n.",
        b"\x82\x01.",
        b"\x8d" + b"\xff" * 8 + b".",  # text of 2^64 bytes
        b"\x80\xff.",
        b"cos\nsystem\n.",
    ],
)
def test_a_pickle_of_anything(pickled: bytes, tmp_path: Path) -> None:
    path = tmp_path / "odd.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("odd/data.pkl", pickled)
        archive.writestr("odd/version", "3\n")
    for read in (load_plain, read_torch):
        with pytest.raises(InputError, match=str(path)):
            read(path)


@pytest.mark.parametrize(
    ("ids", "rows", "words"),
    [
        (IDS, ROWS.numpy()[:11], "no sequence_ids"),
        (IDS, ROWS.numpy()[:, 0], "no sequence_ids"),
        (IDS, ROWS.double().numpy(), "no sequence_ids"),
        (
            IDS,
            np.where(np.arange(12)[:, None] == 5, np.inf, ROWS.numpy()),
            "'r5_chunk_5F1' is not finite",
        ),
        ([*IDS[:5], "other", *IDS[6:]], ROWS.numpy(), "no embedding for id 'r5_chunk_5F1'"),
    ],
)
def test_hdf5_of_another_shape(tmp_path: Path, ids: list[str], rows: Any, words: str) -> None:
    make_h5(tmp_path)
    path = tmp_path / "embeddings.h5"
    write_h5(path, ids, rows if rows.dtype == np.float64 and "fin" not in words else rows.astype(np.float32))
    with pytest.raises(InputError, match=words) as caught:
        read_h5(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("error", [OSError, KeyError, RuntimeError, ValueError, TypeError])
def test_what_hdf5_may_say(error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """h5py has these for it, and gives one or the other by number."""
    make_h5(tmp_path)
    path = tmp_path / "embeddings.h5"

    def fail(*_: object, **__: object) -> None:
        raise error("unable to")

    monkeypatch.setattr(h5py, "File", fail)
    with pytest.raises(InputError, match=rf"{path}: cannot be read.*unable to"):
        read_h5(path)


def test_hdf5_with_numbers_for_ids(tmp_path: Path) -> None:
    make_h5(tmp_path)
    path = tmp_path / "embeddings.h5"
    with h5py.File(path, "w") as file:
        file["sequence_ids"], file["embeddings"] = np.arange(12), ROWS.numpy()
    with pytest.raises(InputError, match=rf"{path}: cannot be read.*no sequence_ids"):
        read_h5(path)


@pytest.mark.parametrize("missing", ["sequence_ids", "embeddings", "all"])
def test_hdf5_without_its_data_sets(tmp_path: Path, missing: str) -> None:
    make_h5(tmp_path)
    path = tmp_path / "embeddings.h5"
    with h5py.File(path, "a") as file:
        for name in [*file] if missing == "all" else [missing]:
            del file[name]
    with pytest.raises(InputError, match=rf"{path}: cannot be read"):
        read_h5(path)
    with h5py.File(path, "w") as file:
        for name in ("sequence_ids", "embeddings"):
            if missing in (name, "all"):
                file.create_group(name)
            else:
                file[name] = ["a"] if name == "sequence_ids" else np.ones((1, 4), np.float32)
    with pytest.raises(InputError, match=rf"{path}: cannot be read"):
        read_h5(path)
    path.unlink()
    with pytest.raises(InputError, match=rf"{path}: no such file"):
        read_h5(path)


def test_hdf5_that_states_more_rows_than_it_has(tmp_path: Path) -> None:
    make_h5(tmp_path)
    path = tmp_path / "embeddings.h5"
    with h5py.File(path, "w") as file:  # of which nothing is stored
        file.create_dataset("sequence_ids", (10**12,), dtype=h5py.string_dtype(), chunks=(1_000,))
        file.create_dataset("embeddings", (10**12, 16), dtype="<f4", chunks=(1_000, 16))
    with pytest.raises(InputError, match=rf"{path}: cannot be read"):
        read_h5(path)
