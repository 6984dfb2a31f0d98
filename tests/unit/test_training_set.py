"""`virnucpro train` on a small made-up dataset: a working set, killed and gone on with to the same bytes."""

import hashlib
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from esm.model.esm2 import ESM2 as FairEsm2

from tests.dataset import COUNTS, write_dataset
from virnucpro.cli.train import train
from virnucpro.errors import InputError
from virnucpro.models.esm2 import ESM2
from virnucpro.models.esm2_weights import read_esm2
from virnucpro.models.model_set import ModelSet
from virnucpro.models.weights import write_torch
from virnucpro.sequences.frames import Frame
from virnucpro.training import train_set as whole
from virnucpro.training.accuracy import auroc
from virnucpro.training.composition import Settings as Nets
from virnucpro.training.composition import train_composition
from virnucpro.training.dataset import Windows, read_windows
from virnucpro.training.encoders import load_encoders
from virnucpro.training.frames import Cut
from virnucpro.training.part import choose_frames
from virnucpro.training.pretrain import pretrain_esm2
from virnucpro.training.small_encoders import (
    ESM2_CONFIG,
    Pair,
    _embed,
    fair_esm_layout,
    train_tokenizer,
    write_encoders,
)
from virnucpro.training.work import work_folder

FAST = ["--composition-epochs", "2", "--masked-epochs", "1", "--epochs", "1", "--frames", "160"]


class Killed(BaseException):
    """Stands for whatever ends a training."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("dataset"))


def run(command: str, dataset: Path, output: Path, *options: str) -> Result:
    given = FAST[:2] if command == "composition" else FAST
    return CliRunner().invoke(
        train, [command, str(dataset), "-o", str(output), "--device", "cpu", *given, *options]
    )


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("first") / "tiny"
    result = run("set", dataset, output, "--demonstration")
    assert result.exception is None, result.output
    return output


def test_writes_a_whole_verified_set_with_card_and_curves(trained: Path) -> None:
    opened = ModelSet.open(trained)
    opened.verify()
    assert (opened.name, opened.window_length) == ("tiny", 500)
    assert opened.score_all and opened.demonstration
    facts = opened.manifest["training"]
    assert facts["settings"]["frames"] == 160 and facts["torch"] == torch.__version__
    assert {epoch["stage"] for epoch in facts["epochs"]} == {
        "ESM-2, masked residues",
        "encoders, end to end",
        "classifier",
    }
    overall = {each["tool"]: each["overall"] for each in facts["test"]}
    assert overall["this set"][-1]["estimates"]["auroc"]["value"] > 0.95
    card = (trained / "MODEL_CARD.md").read_text()
    assert "demonstration" in card and "some frame is open: called viral" in card and "0" * 64 in card
    assert {"MODEL_CARD.md", "training_curves.png", "splits.tsv"} <= opened.manifest["files"].keys()
    assert not work_folder(trained).exists()


def test_killed_and_taken_up_gives_the_same_bytes(
    dataset: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    output = tmp_path / "tiny"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(whole, "fit", killed)
        run("set", dataset, output, "--demonstration")
    assert not output.exists() and (work_folder(output) / "features_train" / "0.npy").exists()
    assert run("set", dataset, output, "--demonstration", "--resume").exception is None
    assert digests(output) == digests(trained)


def test_encoders_of_a_set_are_reused_and_features_of_a_run_serve_as_well(
    dataset: Path, trained: Path, tmp_path: Path
) -> None:
    given = ["--encoders", str(trained)]
    assert run("set", dataset, tmp_path / "a" / "new", *given).exception is None
    new, old = digests(tmp_path / "a" / "new"), digests(trained)
    for name in ("esm2.safetensors", "dnabert_s/model.safetensors", "dnabert_s/tokenizer.json"):
        assert new[name] == old[name]
    opened = ModelSet.open(trained)
    encoders = load_encoders(opened.dnabert_s, opened.esm2)
    for split in COUNTS:
        (tmp_path / "features" / split).mkdir(parents=True)
        cut = Cut.of(read_windows(dataset, split), 500)  # type: ignore[arg-type]
        content = {"ids": cut.ids, "data": torch.from_numpy(encoders.embed(cut.frames))}
        write_torch(tmp_path / "features" / split / "output_1_merged.pt", content)
    given += ["--features", str(tmp_path / "features")]
    result = run("set", dataset, tmp_path / "b" / "new", *given)
    assert result.exception is None, result.exception
    assert digests(tmp_path / "b" / "new") == new
    (tmp_path / "features" / "test" / "output_1_merged.pt").unlink()
    fails(run("set", dataset, tmp_path / "c" / "new", *given), "hold no row of RNAtest0")


def test_parts_alone(dataset: Path, trained: Path, tmp_path: Path) -> None:
    assert run("composition", dataset, tmp_path / "c.safetensors").exception is None
    assert run("encoders", dataset, tmp_path / "pair").exception is None
    made, of_set = digests(tmp_path / "pair"), digests(trained)
    assert made["esm2.safetensors"] == of_set["esm2.safetensors"]
    assert digests(tmp_path)["c.safetensors"] == of_set["composition.safetensors"]


def test_shuffled_labels_leave_nothing_to_learn() -> None:
    draw = random.Random(4)
    sequences = ["".join(draw.choices("ACGT", k=400)) for _ in range(1600)]
    labels = np.arange(1600, dtype=np.int8) % 2
    kinds = [("bacteria", "phage")[label] for label in labels]
    groups = [str(draw.randrange(400)) for _ in sequences]
    windows = Windows([str(n) for n in range(1600)], sequences, labels, kinds, groups)
    trained = train_composition(windows, 1, Nets(epochs=2, hidden=32))
    assert abs(auroc(labels, trained.log_odds) - 0.5) < 0.03


def test_masked_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    draw = random.Random(1)
    proteins = ["".join(draw.choices("ACDEFGHIKLMNPQRSTVWY", k=draw.randint(20, 60))) for _ in range(90)]
    tokens = ESM2(ESM2_CONFIG).tokenize(proteins)

    def learn(folder: Path, stop_after: int) -> Path:
        lines: list[str] = []

        def log(line: str) -> None:
            lines.append(line)
            if len(lines) == stop_after:
                raise Killed

        return pretrain_esm2(folder, ESM2_CONFIG, tokens[:70], tokens[70:], 3, 1, torch.device("cpu"), log)[0]

    whole_way = read_esm2(learn(tmp_path / "whole", 9))[1]
    with pytest.raises(Killed):
        learn(tmp_path / "cut", 2)
    again = read_esm2(learn(tmp_path / "cut", 9))[1]
    assert all(torch.equal(value, again[name]) for name, value in whole_way.items())


def test_written_encoders_equal_the_trained_ones(tmp_path: Path) -> None:
    """What is saved under the published names and loaded again computes what was trained."""
    pair = small_pair().eval()
    frames = [Frame("F1", "ACGTTGCATTGACCA" * 4, "MKVLAARG"), Frame("R2", "GATTACA", "W")]
    encoders = load_encoders(*write_encoders(tmp_path, pair))
    with torch.no_grad():
        dna = _embed(pair.dnabert_s, [frame.nucleotide for frame in frames], torch.device("cpu"))
        protein = _embed(pair.esm2, [frame.protein for frame in frames], torch.device("cpu"))
    torch.testing.assert_close(torch.from_numpy(encoders.embed(frames)), torch.cat([dna, protein], 1))


def test_esm2_has_fair_esms_names_and_shapes() -> None:
    ours, config = fair_esm_layout(small_pair().esm2), ESM2_CONFIG
    theirs = FairEsm2(config.num_layers, config.embed_dim, config.attention_heads).state_dict()
    heads = ("lm_head.", "contact_head.")
    assert {name: value.shape for name, value in ours.items()} == {
        name: value.shape for name, value in theirs.items() if not name.startswith(heads)
    }


def small_pair() -> Pair:
    torch.manual_seed(5)
    esm2 = ESM2(ESM2_CONFIG)
    esm2.inv_freq.fill_(0.5)
    return Pair(train_tokenizer(["ACGTTGCA" * 20, "TTGACCA" * 30]), esm2)


def test_tokenizer_knows_dna_and_marks_the_rest() -> None:
    tokens = train_tokenizer(["ACGTTGCA" * 20]).encode("ACGTNACGT").tokens
    assert tokens[0] == "[CLS]" and tokens[-1] == "[SEP]" and tokens.count("[UNK]") == 1
    assert "".join(token for token in tokens if not token.startswith("[")) == "ACGTACGT"


def test_frames_are_chosen_from_all_classes_alike() -> None:
    kinds = np.array(["phage"] * 5 + ["human"] * 100 + ["bacteria"] * 100)
    chosen = kinds[choose_frames(kinds, 65, 1)]
    assert [int((chosen == kind).sum()) for kind in ("phage", "human", "bacteria")] == [5, 30, 30]
    assert len(choose_frames(kinds, 1000, 1)) == 205


def fails(result: Result, message: str) -> None:
    assert isinstance(result.exception, InputError), result.exception
    assert message in str(result.exception) and "\n" not in str(result.exception)


def test_bad_input_is_one_clear_line_and_changes_nothing(
    dataset: Path, trained: Path, tmp_path: Path
) -> None:
    before = digests(trained)
    fails(run("set", dataset, trained), "exists already")
    fails(run("set", dataset, tmp_path / "out", "--encoders", "nothing"), "model set 'nothing' not found")
    fails(run("set", tmp_path, tmp_path / "out"), "manifest.json: no such file")
    fails(run("composition", dataset, tmp_path / "out"), "must end in .safetensors")
    fails(run("encoders", dataset, trained), "exists already")
    assert digests(trained) == before and not list(tmp_path.iterdir())
