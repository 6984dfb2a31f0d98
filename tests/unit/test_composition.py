"""The composition model: what it counts, that strand and company do not matter, its file, its training."""

import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from virnucpro.errors import InputError
from virnucpro.models.composition import (
    MIN_BASES,
    CompositionModel,
    load_composition,
    save_composition,
    shapes,
)
from virnucpro.sequences.composition import FRAME, FRAMES, WHOLE, features
from virnucpro.sequences.frames import open_frames
from virnucpro.sequences.letters import Letters
from virnucpro.training.composition import Settings, deal_folds, train_composition

CLASSES = {"RNA virus": 1, "phage": 1, "bacteria": 0}
COMPLEMENT = str.maketrans("ACGTacgt", "TGCAtgca")


def reverse_complement(sequence: str) -> str:
    return sequence.translate(COMPLEMENT)[::-1]


def some_dna(draw: random.Random, length: int, letters: str = "ACGT") -> str:
    return "".join(draw.choices(letters, k=length))


@pytest.fixture
def sequences() -> list[str]:
    draw = random.Random(7)
    return [some_dna(draw, length, "ACGT" * 5 + "N") for length in (130, 131, 132, 299, 500, 501, 1733, 150)]


@pytest.fixture
def model() -> CompositionModel:
    rng = np.random.default_rng(5)
    tensors = {
        name: rng.normal(0, 0.2, shape).astype(np.float16).astype(np.float32)
        for name, shape in shapes(2, 16, len(CLASSES)).items()
    }
    tensors["scale"] = np.abs(tensors["scale"]) + 1
    return CompositionModel(CLASSES, tensors)


def test_words_and_codons_are_those_of_the_letters(sequences: list[str]) -> None:
    letters = Letters.of(sequences)
    words, codons = letters.words5(), letters.in_phase(letters.codons, 65)
    for row, sequence in enumerate(sequences):
        for name in ("ACGTA", "TTTTT", "GATTC"):
            code = int(name.translate(str.maketrans("ACGT", "0123")), 4)
            starts = range(len(sequence) - 4)
            assert words[row, code] == sum(sequence[at : at + 5] == name for at in starts)
        assert words[row].sum() == sum("N" not in sequence[at : at + 5] for at in range(len(sequence) - 4))
        for phase in range(3):
            triplets = [sequence[at : at + 3] for at in range(phase, len(sequence) - 2, 3)]
            assert codons[row, phase, 0b001110] == triplets.count("ATG")
        assert letters.bases()[row] == len(sequence) - sequence.count("N")
        for lag in (1, 12):
            pairs = zip(sequence, sequence[lag:], strict=False)
            assert letters.repeats(lag)[row] == sum(one == other != "N" for one, other in pairs)


def test_a_frame_without_a_stop_is_one_run_as_long_as_the_frame() -> None:
    draw = random.Random(3)
    for _ in range(40):
        sequence = some_dna(draw, 90)
        frames = features([sequence])[0, WHOLE:].reshape(FRAMES, FRAME)
        assert len(open_frames(sequence)) == np.count_nonzero(frames[:, 64] == 1)


def test_neither_strand_is_the_first(sequences: list[str], model: CompositionModel) -> None:
    turned = [reverse_complement(sequence) for sequence in sequences]
    np.testing.assert_allclose(features(sequences)[:, :WHOLE], features(turned)[:, :WHOLE], atol=1e-5)
    np.testing.assert_allclose(model.log_odds(sequences), model.log_odds(turned), atol=1e-3)


def test_company_case_and_letters_after_the_end_change_nothing(
    sequences: list[str], model: CompositionModel
) -> None:
    together = model.log_odds(sequences)
    alone = np.concatenate([model.log_odds([sequence]) for sequence in sequences])
    np.testing.assert_allclose(together, alone, atol=1e-3)
    np.testing.assert_allclose(together, model.log_odds([s.lower() for s in sequences]), atol=1e-3)
    np.testing.assert_allclose(together, model.log_odds([s.replace("T", "U") for s in sequences]), atol=1e-3)
    many = sequences * 40
    np.testing.assert_allclose(model.log_odds(many), np.tile(together, 40), atol=1e-3)
    padded = ["N" * 30 + sequence + "N" * 300 for sequence in sequences]
    np.testing.assert_allclose(together, model.log_odds(padded), atol=1e-3)
    assert len(np.unique(together.round(2))) == len(sequences)


def test_too_few_known_bases_have_no_log_odds(model: CompositionModel) -> None:
    enough = some_dna(random.Random(1), MIN_BASES)
    given = [enough, enough[1:], enough[1:] + "N" * 500, "N" * 500, "", "ACGTRYKM" * 25]
    assert np.isnan(model.log_odds(given)).tolist() == [False, True, True, True, True, False]
    assert np.isfinite(features(["", "N" * 50, "AC", "A" * 400])).all()
    assert model.log_odds([]).shape == (0,)


def test_a_written_model_comes_back_as_it_was(tmp_path: Path, model: CompositionModel) -> None:
    path = tmp_path / "composition.safetensors"
    save_composition(path, model)
    again = load_composition(path)
    assert again.classes == CLASSES
    sequence = some_dna(random.Random(2), 400)
    assert again.log_odds([sequence]) == model.log_odds([sequence])
    save_composition(tmp_path / "second", again)
    assert (tmp_path / "second").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda whole: whole[: len(whole) // 2], "damaged"),
        (lambda whole: b"", "damaged"),
        (lambda whole: b"\x80\x04pickle, of all things", "damaged"),
        (lambda whole: whole.replace(b'"mean"', b'"meen"'), "mean is not"),
        (lambda whole: whole.replace(b'bacteria\\": 0', b'bacteria\\": 1'), "both labels"),
        (lambda whole: whole[:-4] + b"\xff\xff\xff\xff", "finite"),
    ],
)
def test_a_damaged_model_is_one_clear_line(
    tmp_path: Path, model: CompositionModel, damage: "object", message: str
) -> None:
    path = tmp_path / "composition.safetensors"
    save_composition(path, model)
    assert callable(damage)
    damaged = damage(path.read_bytes())
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=message):
        load_composition(path)


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.safetensors: no such"):
        load_composition(tmp_path / "none.safetensors")


def windows_of(groups: int, each: int) -> SimpleNamespace:
    """Two classes of virus rich in A, two of others rich in C."""
    draw = random.Random(11)
    rows = [
        (some_dna(draw, 400, letters), label, kind, f"{kind} {group}")
        for kind, label, letters in [
            ("a", 1, "AACGT"),
            ("b", 1, "AAAGT"),
            ("c", 0, "ACCGT"),
            ("d", 0, "CCGGT"),
        ]
        for group in range(groups)
        for _ in range(each)
    ]
    sequences, labels, kinds, names = map(list, zip(*rows, strict=True))
    return SimpleNamespace(
        sequences=sequences, labels=np.array(labels, dtype=np.int8), kinds=kinds, groups=names
    )


def test_training_tells_classes_apart_out_of_fold_and_repeats_itself() -> None:
    windows = windows_of(groups=4, each=12)
    settings = Settings(nets=2, hidden=16, epochs=5, batch=64, rate=0.01, warm_up=5)
    trained = train_composition(windows, seed=4, settings=settings)
    assert ((trained.log_odds > 0) == (windows.labels == 1)).mean() > 0.95
    held = some_dna(random.Random(90), 400, "AACGT"), some_dna(random.Random(91), 400, "ACCGT")
    assert (trained.model.log_odds(held) > 0).tolist() == [True, False]
    assert trained.losses[-1] < trained.losses[0]
    again = train_composition(windows, seed=4, settings=settings)
    for name, tensor in trained.model.tensors.items():
        np.testing.assert_array_equal(tensor, again.model.tensors[name])
    np.testing.assert_array_equal(trained.log_odds, again.log_odds)


def test_a_net_has_not_seen_its_fold() -> None:
    """What is virus in one fold is not in the other: each net, asked of its own fold, is wrong."""
    draw = random.Random(12)
    rows = []
    for group in range(8):
        for label in (0, 1):
            letters = "AACGT" if label == group % 2 else "ACCGT"
            rows += [(some_dna(draw, 400, letters), label, "ov"[label], f"{'ov'[label]}{group}")] * 12
    sequences, labels, kinds, groups = map(list, zip(*rows, strict=True))
    turned = SimpleNamespace(
        sequences=sequences, labels=np.array(labels, np.int8), kinds=kinds, groups=groups
    )
    settings = Settings(nets=2, hidden=16, epochs=5, batch=64, rate=0.01, warm_up=5)
    trained = train_composition(turned, seed=4, settings=settings)
    assert trained.folds.tolist() == [int(group[1]) % 2 for group in groups]
    assert ((trained.log_odds > 0) == (turned.labels == 1)).mean() < 0.2


def test_folds_keep_groups_whole_across_classes_and_share_each_class() -> None:
    draw = random.Random(6)
    kinds = [draw.choice("abc") for _ in range(900)]
    groups = [str(draw.randrange(30)) for _ in kinds]
    folds = deal_folds(kinds, groups, 4)
    assert all(
        len({f for f, g in zip(folds, groups, strict=True) if g == group}) == 1 for group in set(groups)
    )
    for kind in "abc":
        counts = np.bincount([f for f, k in zip(folds, kinds, strict=True) if k == kind], minlength=4)
        assert counts.min() > 0.5 * counts.mean()


def test_one_label_alone_is_refused() -> None:
    windows = windows_of(groups=2, each=2)
    windows.labels[:] = 1
    with pytest.raises(InputError, match="both labels"):
        train_composition(windows)
