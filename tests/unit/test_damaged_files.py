"""Whatever happens to a file that is read: a right result, or one line that names it, and nothing else.

Cut at many places, and with single bits flipped at many places.
"""

import pickle
import random
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import EsmConfig, EsmForMaskedLM

from tests.unit.test_classifier import pickled_original
from virnucpro.calling.merge import read_nucleotide, read_protein
from virnucpro.calling.predict import read_merged
from virnucpro.embedding.h5_to_pt import h5_to_pt
from virnucpro.errors import InputError
from virnucpro.models.checksums import check_torch_file
from virnucpro.models.classifier import load_classifier, load_original_classifier
from virnucpro.models.dnabert_s import convert_dnabert_s, load_dnabert_s
from virnucpro.models.esm2 import load_esm2
from virnucpro.models.esm2_weights import convert_esm2, read_esm2
from virnucpro.models.model_set import ModelSet
from virnucpro.models.weights import read_folder

CPU = torch.device("cpu")
CUTS, FLIPS = 25, 40
IDS = [f"r{number}_chunk_{number}F1" for number in range(12)]
ROWS = torch.randn((12, 16), generator=torch.Generator().manual_seed(1))
NUCLEOTIDE = {
    "nucleotide": IDS,
    "data": [{"label": id, "mean_representation": row} for id, row in zip(IDS, ROWS.tolist(), strict=True)],
}


@pytest.fixture(scope="module")
def original_classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("original") / "500_model.pth"
    pickled_original(path, 6, 5)
    return path


@dataclass(frozen=True)
class Kind:
    """A file at `name` in a folder that `make` fills; `read` gives something to compare. `summed`: a checksum
    stands guard over every byte that counts."""

    name: str
    make: Callable[[Path, pytest.FixtureRequest], object]
    read: Callable[[Path], object]
    summed: bool = True


def step(name: str, content: object, read: Callable[[Path], tuple[list[str], Any]]) -> Kind:
    def comparable(path: Path) -> object:
        ids, rows = read(path)
        return ids, np.asarray(rows).tobytes()

    return Kind(name, lambda folder, _: torch.save(content, folder / name), comparable)


def write_h5(path: Path, ids: object = IDS, rows: object = ROWS.numpy()) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("sequence_ids", data=ids, dtype=h5py.string_dtype())
        file["embeddings"] = rows


def make_h5(folder: Path, _: object = None) -> None:
    write_h5(folder / "embeddings.h5")
    torch.save(NUCLEOTIDE, folder / "output_1_DNABERT_S.pt")


def read_h5(path: Path) -> object:
    (written,) = h5_to_pt(path, path.parent / "out", [path.with_name("output_1_DNABERT_S.pt")])
    return read_protein(written)[1].tobytes()


def hugging_face(folder: Path, _: object = None) -> None:
    torch.manual_seed(3)
    config = EsmConfig(
        vocab_size=33, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        position_embedding_type="rotary", token_dropout=True, layer_norm_eps=1e-5, pad_token_id=1,
        mask_token_id=32, emb_layer_norm_before=False, max_position_embeddings=26,
    )  # fmt: skip
    EsmForMaskedLM(config).save_pretrained(folder, max_shard_size="3KB")


def copied(fixture: str) -> Callable[[Path, pytest.FixtureRequest], None]:
    def make(folder: Path, request: pytest.FixtureRequest) -> None:
        source = request.getfixturevalue(fixture)
        source = source.directory if isinstance(source, ModelSet) else source
        if source.is_dir():
            shutil.copytree(source, folder, dirs_exist_ok=True)
        else:
            shutil.copy(source, folder)

    return make


def with_bin(folder: Path, request: pytest.FixtureRequest) -> None:
    copied("dnabert_folder")(folder, request)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def bits(state: dict[str, torch.Tensor]) -> object:
    return {name: value.numpy().tobytes() for name, value in state.items()}


def of_set(path: Path) -> object:
    """A model set as a run reads it: verified, and then loaded."""
    folder = next(parent for parent in path.parents if (parent / "manifest.json").exists())
    models = ModelSet.open(folder)
    models.verify()
    load_dnabert_s(models.dnabert_s, CPU)
    load_classifier(models.classifier)
    return bits(read_esm2(models.esm2)[1])


def converted(convert: Callable[[Path, Path], None], source: Path) -> object:
    target = source.parent / "out" / "converted.safetensors"
    target.parent.mkdir(exist_ok=True)
    if target.is_dir():
        shutil.rmtree(target)
    convert(source, target)
    return (target / "model.safetensors" if target.is_dir() else target).read_bytes()


def loaded_esm2(path: Path) -> object:
    load_esm2(path, CPU)
    return bits(read_esm2(path)[1])


def loaded_dnabert_s(path: Path) -> object:
    model = load_dnabert_s(path.parent, CPU)
    return model.tokenize(["ACGTTGCA"]), bits(read_folder(path.parent))


KINDS = {
    "nucleotide": step("output_1_DNABERT_S.pt", NUCLEOTIDE, read_nucleotide),
    "protein": step("output_1_ESM.pt", {"proteins": IDS, "data": list(ROWS)}, read_protein),
    "merged": step("output_1_merged.pt", {"ids": IDS, "data": ROWS}, read_merged),
    "classifier.pth": Kind(
        "500_model.pth",
        copied("original_classifier"),
        lambda path: bits(load_original_classifier(path).state_dict()),
    ),
    "embeddings.h5": Kind("embeddings.h5", make_h5, read_h5, summed=False),
    "set: ESM-2": Kind("esm2.safetensors", copied("model_set"), of_set),
    "set: classifier": Kind("classifier.safetensors", copied("model_set"), of_set),
    "set: weights": Kind("dnabert_s/model.safetensors", copied("model_set"), of_set),
    "set: config": Kind("dnabert_s/config.json", copied("model_set"), of_set),
    "set: tokenizer": Kind("dnabert_s/tokenizer.json", copied("model_set"), of_set),
    "set: manifest": Kind("manifest.json", copied("model_set"), of_set, summed=False),
    "ESM-2": Kind("esm2.safetensors", copied("model_set"), loaded_esm2, summed=False),
    "classifier": Kind(
        "classifier.safetensors",
        copied("model_set"),
        lambda path: bits(load_classifier(path).state_dict()),
        summed=False,
    ),
    "fair-esm": Kind("esm2_tiny.pt", copied("fair_esm"), loaded_esm2, summed=False),
    "fair-esm, converted": Kind(
        "esm2_tiny.pt", copied("fair_esm"), lambda path: converted(convert_esm2, path)
    ),
    "hub: index": Kind(
        "model.safetensors.index.json", hugging_face, lambda path: loaded_esm2(path.parent), summed=False
    ),
    "hub: config": Kind("config.json", hugging_face, lambda path: loaded_esm2(path.parent), summed=False),
    "DNABERT-S: weights": Kind("model.safetensors", copied("dnabert_folder"), loaded_dnabert_s, summed=False),
    "DNABERT-S: bin": Kind("pytorch_model.bin", with_bin, loaded_dnabert_s, summed=False),
    "DNABERT-S: bin, converted": Kind(
        "pytorch_model.bin", with_bin, lambda path: converted(convert_dnabert_s, path.parent)
    ),
    "DNABERT-S: config": Kind("config.json", copied("dnabert_folder"), loaded_dnabert_s, summed=False),
    "DNABERT-S: tokenizer": Kind("tokenizer.json", copied("dnabert_folder"), loaded_dnabert_s, summed=False),
}


def damage(kind: str, whole: bytes) -> Iterator[tuple[str, bytes]]:
    """The file cut, and with one bit flipped; both ends, where the structure is, come more often."""
    letters = random.Random(kind)

    def place() -> int:
        near = letters.randrange(min(len(whole), 2_000))
        return letters.choice([near, len(whole) - 1 - near, letters.randrange(len(whole))])

    for at in [0, 1, len(whole) - 1, *(place() for _ in range(CUTS))]:
        yield f"cut at {at}", whole[:at]
    # HDF5's own library runs for ever over some wrong lengths in the heap where its texts are.
    heap = range(whole.find(b"GCOL"), whole.find(b"GCOL") + 4_096) if kind == "embeddings.h5" else range(0)
    for at, bit in [(place(), letters.randrange(8)) for _ in range(FLIPS)]:
        if at not in heap:
            flipped = bytearray(whole)
            flipped[at] ^= 1 << bit
            yield f"bit {bit} of byte {at}", bytes(flipped)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_named_or_read_right(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    facts = KINDS[kind]
    folder = tmp_path / "files"
    folder.mkdir()
    facts.make(folder, request)
    path = folder / facts.name
    whole = path.read_bytes()
    right = facts.read(path)
    refused = 0
    for what, content in damage(kind, whole):
        path.write_bytes(content)
        try:
            found = facts.read(path)
        except InputError as error:
            refused += 1
            assert str(path if facts.summed else path.parent) in str(error), what
            assert "\n" not in str(error), what
        else:
            assert not facts.summed or found == right, what
    assert refused >= CUTS


@pytest.mark.parametrize("kind", ["nucleotide", "protein", "merged", "classifier.pth", "fair-esm, converted"])
def test_a_bit_of_a_number_is_noticed(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """torch writes a sum beside every entry, and never looks at it."""
    KINDS[kind].make(tmp_path, request)
    path = tmp_path / KINDS[kind].name
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if "/data" in entry.filename]
        largest = max(entries, key=lambda entry: entry.file_size)
        middle = path.read_bytes().index(archive.read(largest)) + largest.file_size // 2
    content = bytearray(path.read_bytes())
    content[middle] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{path.name}: cannot be read: damaged.*CRC"):
        KINDS[kind].read(path)


@pytest.mark.parametrize("over_4_gib", [False, True])
def test_every_byte_of_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, over_4_gib: bool) -> None:
    """`zipfile` has many exceptions for what it finds in the headers."""
    path = tmp_path / "output_1_merged.pt"
    torch.save({"ids": ["a"], "data": torch.ones(1, 1)}, path)
    if over_4_gib:  # as far as the headers go
        monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("output/data.pkl", b"N.")
            archive.writestr("output/version", b"3")
        monkeypatch.undo()
    whole = path.read_bytes()
    refused = 0
    for at, byte in enumerate(whole):
        for other in (*(bytes([byte ^ bit]) for bit in (1, 8, 128)), b"\xff" * 8):
            path.write_bytes(whole[:at] + other + whole[at + len(other) :])
            try:
                check_torch_file(path)
            except InputError as error:
                refused += 1
                assert str(path) in str(error)
    assert refused > 500


def test_nothing_is_unpacked(tmp_path: Path) -> None:
    """torch compresses nothing; a small file could become a large one."""
    path = tmp_path / "output_1_DNABERT_S.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("output/data.pkl", pickle.dumps(NUCLEOTIDE))
    with pytest.raises(InputError, match=rf"{path}: cannot be read.*compressed"):
        read_nucleotide(path)
