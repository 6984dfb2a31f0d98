"""Small models of the real classes with random weights, in the layouts their authors publish."""

import json
import logging
import os
import random
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest

# Threads of several runs side by side spin against each other; torch reads this when it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from esm.model.esm2 import ESM2
from hypothesis import settings
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, processors, trainers

from tests.composition import write_calibration, write_composition
from virnucpro.models.assemble import assemble_model_set
from virnucpro.models.classifier import MLPClassifier, save_classifier
from virnucpro.models.dnabert_s import DnabertConfig, DnabertS, published_name
from virnucpro.models.model_set import ModelSet

DATA = Path(__file__).parent / "data"
GOLDEN = DATA / "golden"
settings.register_profile("virnucpro", deadline=None)  # a test is not about time
settings.load_profile("virnucpro")
SOAK = bool(os.environ.get("SOAK"))  # `make soak`: many more rounds


def pytest_configure(config: pytest.Config) -> None:
    """Hide every GPU from all tests, and what they start, but those that `pytest -m gpu` runs. CUDA reads the
    variable when it is first used, which nothing has done by now."""
    if config.getoption("markexpr") != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_report_header(config: pytest.Config) -> str:
    """Say which tests these are."""
    only = config.getoption("markexpr") == "gpu"
    return (
        "GPUs: those that are visible" if only else "GPUs: hidden; pytest -m gpu runs the tests that need one"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that needs a GPU where none is visible; -ra shows the reason."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a GPU: run pytest -m gpu where nvidia-smi lists one")


@pytest.fixture(autouse=True)
def our_log() -> Iterator[None]:
    """A program run in this process sets how much we say; the next test hears everything again."""
    yield
    logging.getLogger("virnucpro").setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def golden() -> Path:
    """Inputs, intermediates and outputs of the original with the real models."""
    return GOLDEN


@pytest.fixture(scope="session")
def fair_esm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fair-esm checkpoint: 3 layers, 32 wide, 4 heads, named as fairseq names its weights."""
    torch.manual_seed(11)
    model = ESM2(num_layers=3, embed_dim=32, attention_heads=4, token_dropout=True)
    sizes = Namespace(
        encoder_layers=3, encoder_embed_dim=32, encoder_attention_heads=4, token_dropout=True, arch="esm2"
    )
    state = {f"encoder.sentence_encoder.{name}": value for name, value in model.state_dict().items()}
    path = tmp_path_factory.mktemp("esm2") / "esm2_tiny.pt"
    torch.save({"cfg": {"model": sizes}, "model": state}, path)
    return path


@pytest.fixture(scope="session")
def dnabert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DNABERT-S in the published layout: 2 layers, 48 wide, 6 heads, a BPE tokenizer of 300 tokens."""
    folder = tmp_path_factory.mktemp("dnabert_s")
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    letters = random.Random(5)
    text = ("".join(letters.choices("ACGT", k=400)) for _ in range(200))
    tokenizer.train_from_iterator(text, trainers.BpeTrainer(vocab_size=300, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = DnabertConfig(300, 48, 2, 6, 64, 2, 1e-12)
    torch.manual_seed(12)
    model = DnabertS(config, tokenizer)
    save_file(
        {published_name(n): v.clone() for n, v in model.state_dict().items()}, folder / "model.safetensors"
    )
    published = {name: getattr(config, name) for name in config.__slots__}
    (folder / "config.json").write_text(json.dumps(published))
    return folder


@pytest.fixture(scope="session")
def model_set(fair_esm: Path, dnabert_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelSet:
    """A whole model set with windows of 500 bases; its classifier is random, so both calls occur."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(13)
    classifier = MLPClassifier(48 + 32)
    save_classifier(folder / "classifier.safetensors", classifier)
    return assemble_model_set(
        folder / "tiny",
        esm2=fair_esm,
        dnabert_s=dnabert_folder,
        classifier=folder / "classifier.safetensors",
        window_length=500,
        composition=write_composition(folder / "composition.safetensors"),
        calibration=write_calibration(folder / "calibration.json"),
    )


@pytest.fixture(scope="session")
def stub_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a stub run reads of a model set: its manifest."""
    folder = tmp_path_factory.mktemp("stub models") / "stub"
    folder.mkdir()
    (folder / "manifest.json").write_text('{"window_length": 500}')
    return folder


@pytest.fixture
def luck(request: pytest.FixtureRequest) -> random.Random:
    """Draws when and what; the seed is shown with a failure, and SOAK_SEED sets it."""
    seed = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"SOAK_SEED={seed}")
    return random.Random(seed)


def random_dna(letters: random.Random, length: int) -> str:
    """Bases drawn evenly, stops avoided in one frame so that windows have something to embed."""
    codons = [a + b + c for a in "ACGT" for b in "ACGT" for c in "ACGT"]
    sense = [codon for codon in codons if codon not in ("TAA", "TAG", "TGA")]
    return "".join(letters.choices(sense, k=length // 3 + 1))[:length]


def write_reads(path: Path) -> Path:
    """Twelve records of 60 to 1,700 bases; some windows have an open frame, some records none."""
    letters = random.Random(7)
    with path.open("w") as out:
        for number, length in enumerate([100, 171, 300, 499, 500, 501, 750, 1000, 1700, 60, 1200, 450]):
            dna = random_dna(letters, length) if number % 3 else "".join(letters.choices("ACGT", k=length))
            out.write(f">read_{number} length={length}\n{dna}\n")
    return path


@pytest.fixture(scope="session")
def reads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`reads.fa`: see `write_reads`."""
    return write_reads(tmp_path_factory.mktemp("reads") / "reads.fa")
