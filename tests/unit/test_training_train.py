"""`virnucpro train` as a whole, on small made-up genomes: same bytes twice, a working set, clear errors."""

import csv
import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch
from click.testing import CliRunner, Result
from esm.model.esm2 import ESM2 as FairEsm2

from virnucpro.cli.train import train
from virnucpro.errors import InputError
from virnucpro.models.model_set import ModelSet
from virnucpro.sequences.frames import Frame
from virnucpro.training import evaluation
from virnucpro.training.data import COLUMNS
from virnucpro.training.encoders import load_encoders
from virnucpro.training.small_encoders import Pair, fair_esm_layout, train_tokenizer

VIRAL_CODONS = ["ATT", "AAA", "GAT", "TCA", "AAT", "CAA", "TTA"]
OTHER_CODONS = ["GCC", "CTG", "GGC", "CTA", "GTG", "CCG", "GCC"]  # CTA closes the reverse and shifted frames


def write_genomes(path: Path, codons: list[str], groups: int, seed: int) -> None:
    """One open-framed genome of 3.3 kb a family."""
    draw = random.Random(seed)
    with path.open("w") as out:
        for number in range(groups):
            dna = "".join(draw.choices(codons, k=1100))
            out.write(f">{path.stem}{number} family=F{number}\n{dna}\n")


@pytest.fixture(scope="module", autouse=True)
def small_test() -> Iterator[None]:
    """Fewer fragments to test on; everything else as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "FRAGMENTS", 20)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("genomes")
    write_genomes(folder / "viruses.fa", VIRAL_CODONS, groups=4, seed=1)
    write_genomes(folder / "bacteria.fa", OTHER_CODONS, groups=4, seed=2)
    write_table(
        folder / "table.tsv",
        ["virus", "RNA virus", "viruses.fa", r"family=(\S+)", "", ""],
        ["others", "bacteria", "bacteria.fa", r"family=(\S+)", "", ""],
    )
    return folder


def write_table(path: Path, *rows: list[str]) -> None:
    path.write_text("".join("\t".join(row) + "\n" for row in (COLUMNS, *rows)))


def run(table: Path, output: Path, *options: str) -> Result:
    return CliRunner().invoke(train, [str(table), "--output", str(output), "--fragments", "60", *options])


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("first") / "tiny"
    result = run(data / "table.tsv", output)
    assert result.exception is None, result.output
    return output


def test_same_seed_gives_the_same_bytes_and_another_seed_others(
    data: Path, trained: Path, tmp_path: Path
) -> None:
    assert run(data / "table.tsv", tmp_path / "tiny").exception is None
    assert digests(tmp_path / "tiny") == digests(trained)
    assert run(data / "table.tsv", tmp_path / "other" / "tiny", "--seed", "2").exception is None
    other = digests(tmp_path / "other" / "tiny")
    weights = {"classifier.safetensors", "esm2.safetensors", "dnabert_s/model.safetensors"}
    assert all(other[name] != digests(trained)[name] for name in weights)


def test_writes_a_whole_verified_set_with_card_table_and_splits(data: Path, trained: Path) -> None:
    opened = ModelSet.open(trained)
    opened.verify()
    assert (opened.name, opened.window_length) == ("tiny", 500)
    assert (trained / "training.tsv").read_bytes() == (data / "table.tsv").read_bytes()
    facts = opened.manifest["training"]
    assert facts["settings"] == {"window_length": 500, "fragments_per_class": 60, "seed": 1, "threads": 1}
    assert facts["torch"] == torch.__version__
    expected = hashlib.sha256((data / "viruses.fa").read_bytes()).hexdigest()
    assert {"class": "RNA virus", "label": "virus", "file": "viruses.fa", "sha256": expected} in facts["data"]
    with (trained / "splits.tsv").open() as text:
        rows = list(csv.DictReader(text, delimiter="\t"))
    assert sorted((row["class"], row["group"]) for row in rows) == sorted(
        (kind, f"F{number}") for kind in ("RNA virus", "bacteria") for number in range(4)
    )
    card = (trained / "MODEL_CARD.md").read_text()
    assert expected in card and "| RNA virus (viral) | 500 |" in card


def test_learns_what_there_is_to_learn(trained: Path) -> None:
    rows = json.loads((trained / "manifest.json").read_text())["training"]["test"]
    assert {(row["kind"], row["length"]) for row in rows} == {
        (kind, length) for kind in ("RNA virus", "bacteria") for length in (300, 500, 1000, 3000)
    }
    assert all(row["auroc_all"] > 0.95 for row in rows)


def test_encoders_of_a_set_are_reused_untouched(data: Path, trained: Path, tmp_path: Path) -> None:
    result = run(data / "table.tsv", tmp_path / "again", "--encoders", str(trained))
    assert result.exception is None, result.output
    new, old = digests(tmp_path / "again"), digests(trained)
    for name in ("esm2.safetensors", "dnabert_s/model.safetensors", "dnabert_s/tokenizer.json"):
        assert new[name] == old[name]
    assert ModelSet.open(tmp_path / "again").manifest["training"]["encoders"] == "of tiny, frozen"


def test_written_encoders_equal_the_trained_ones(tmp_path: Path) -> None:
    """What is saved under the published names and loaded again computes what was trained."""
    from virnucpro.training.small_encoders import _embed, _write

    torch.manual_seed(5)
    pair = Pair(train_tokenizer(["ACGTTGCA" * 20, "TTGACCA" * 30])).eval()
    frames = [Frame("F1", "ACGTTGCATTGACCA" * 4, "MKVLAARG"), Frame("R2", "GATTACA", "W")]
    encoders = _write(tmp_path, pair)
    with torch.no_grad():
        dna = _embed(pair.dnabert_s, [frame.nucleotide for frame in frames])
        protein = _embed(pair.esm2, [frame.protein for frame in frames])
    torch.testing.assert_close(torch.from_numpy(encoders.embed(frames)), torch.cat([dna, protein], 1))
    assert load_encoders(tmp_path / "dnabert_s", tmp_path / "esm2.safetensors").esm2.dim == pair.esm2.dim


def test_esm2_has_fair_esms_names_and_shapes() -> None:
    pair = Pair(train_tokenizer(["ACGTTGCA" * 20]))
    ours = fair_esm_layout(pair.esm2)
    config = pair.esm2.config
    theirs = FairEsm2(config.num_layers, config.embed_dim, config.attention_heads).state_dict()
    heads = ("lm_head.", "contact_head.")
    assert {name: value.shape for name, value in ours.items()} == {
        name: value.shape for name, value in theirs.items() if not name.startswith(heads)
    }


def test_dnabert_s_has_the_published_names(trained: Path) -> None:
    names = set(safetensors.torch.load_file(trained / "dnabert_s" / "model.safetensors"))
    layer = "bert.encoder.layer.0."
    assert {
        "bert.embeddings.word_embeddings.weight",
        "bert.embeddings.token_type_embeddings.weight",
        "bert.embeddings.LayerNorm.weight",
        f"{layer}attention.self.Wqkv.weight",
        f"{layer}attention.output.dense.weight",
        f"{layer}attention.output.LayerNorm.bias",
        f"{layer}mlp.gated_layers.weight",
        f"{layer}mlp.wo.bias",
        f"{layer}mlp.layernorm.weight",
    } <= names


def test_tokenizer_knows_dna_and_marks_the_rest() -> None:
    tokenizer = train_tokenizer(["ACGTTGCA" * 20])
    tokens = tokenizer.encode("ACGTNACGT").tokens
    assert tokens[0] == "[CLS]" and tokens[-1] == "[SEP]" and tokens.count("[UNK]") == 1
    assert "".join(token for token in tokens if not token.startswith("[")) == "ACGTACGT"


def fails(result: Result, message: str) -> None:
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception) and "\n" not in str(result.exception)


def test_too_few_sequences_is_one_clear_line_and_leaves_nothing(data: Path, tmp_path: Path) -> None:
    closed = "TAATTAATTAATTTATTAATTAA" * 50
    (tmp_path / "closed.fa").write_text("".join(f">c{i}\n{closed}\n" for i in range(3)))
    (tmp_path / "viruses.fa").write_bytes((data / "viruses.fa").read_bytes())
    write_table(
        tmp_path / "table.tsv",
        ["virus", "RNA virus", "viruses.fa", r"family=(\S+)", "", ""],
        ["others", "human", "closed.fa", "record", "", ""],
    )
    fails(
        run(tmp_path / "table.tsv", tmp_path / "out"), "only 0 other fragment(s) with an open frame for train"
    )
    write_table(
        tmp_path / "table.tsv",
        ["virus", "RNA virus", "viruses.fa", "file", "", ""],
        ["others", "human", "closed.fa", "record", "", ""],
    )
    fails(run(tmp_path / "table.tsv", tmp_path / "out"), "class 'RNA virus' has 1 group(s), too few")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["closed.fa", "table.tsv", "viruses.fa"]


def test_existing_output_and_unknown_encoders_are_refused_at_once(
    data: Path, trained: Path, tmp_path: Path
) -> None:
    before = digests(trained)
    fails(run(data / "table.tsv", trained), "exists already")
    assert digests(trained) == before
    fails(run(data / "table.tsv", tmp_path / "out", "--encoders", "nothing"), "model set 'nothing' not found")
