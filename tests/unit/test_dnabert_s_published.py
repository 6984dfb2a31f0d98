"""DNABERT-S at its published size against stored vectors of the published model code.

The vectors in `data/dnabert_s/published.safetensors` are what that code (MAGICS-LAB/DNABERT_S, its PyTorch
path, one sequence at a time, float32) gives for `weights` and `tokens` below: the mean over all tokens.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models

from tests.conftest import DATA
from virnucpro.embedding.plan import plan
from virnucpro.models.attention import Packed
from virnucpro.models.dnabert_s import DnabertConfig, DnabertS, load_dnabert_s, published_name

CPU = torch.device("cpu")
# The published config.json, as far as it shapes the model.
CONFIG = DnabertConfig(4096, 768, 12, 12, 3072, 2, 1e-12)


def weights() -> dict[str, np.ndarray]:
    """Random weights by their published names; this generator's stream is frozen for good."""
    with torch.device("meta"):
        shapes = {
            published_name(name): tuple(value.shape)
            for name, value in DnabertS(CONFIG, Tokenizer(models.BPE())).state_dict().items()
        }
    random = np.random.RandomState(1)
    state = {}
    for name in sorted(shapes):
        spread = random.random_sample(shapes[name]).astype(np.float32) - np.float32(0.5)
        # Standard deviation 0.02, the published initializer_range; norms about 1.
        is_norm = name.endswith(("LayerNorm.weight", "layernorm.weight"))
        state[name] = 1 + np.float32(0.2) * spread if is_norm else np.float32(0.07) * spread
    return state


def tokens(length: int) -> list[int]:
    """[CLS], random tokens, [SEP]; cut to one token where no more are wanted."""
    body = np.random.RandomState(length).randint(5, CONFIG.vocab_size, size=max(length - 2, 0)).tolist()
    return [1, *body, 2][:length]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dnabert_s")
    save_file(weights(), folder / "model.safetensors")
    published = {name: getattr(CONFIG, name) for name in CONFIG.__slots__}
    (folder / "config.json").write_text(json.dumps(published))
    Tokenizer(models.BPE()).save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> DnabertS:
    return load_dnabert_s(folder, CPU)


@torch.inference_mode()
def furthest(model: DnabertS, budget: int, device: torch.device) -> float:
    """The worst relative distance to the stored vectors, each of which must be the nearest to its own."""
    stored = load_file(DATA / "dnabert_s" / "published.safetensors")
    lengths, truth = stored["lengths"], stored["vectors"]
    assert lengths.min() == 1 and lengths.max() == 512
    found = np.empty_like(truth)
    for rows in plan(lengths, budget):
        batch = Packed.of([tokens(int(length)) for length in lengths[rows]], device)
        found[rows] = model(batch).cpu().numpy()
    nearest = np.linalg.norm(found[:, None] - truth, axis=2).argmin(axis=1)
    assert nearest.tolist() == list(range(len(lengths)))
    return float((np.linalg.norm(found - truth, axis=1) / np.linalg.norm(truth, axis=1)).max())


@pytest.mark.parametrize("budget", [1, 700, 4096])
def test_equals_the_published_code(model: DnabertS, budget: int) -> None:
    """Lengths of 1 to 512 tokens: alone (a budget of 1), and in batches of mixed lengths."""
    assert furthest(model, budget, CPU) <= 1e-5


@pytest.mark.gpu
# Half precision: one or two tokens, fewer than a window has, are 2.3e-3 away; all others are within 2e-3.
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float16, 3e-3)])
def test_equals_the_published_code_on_a_gpu(folder: Path, dtype: torch.dtype, bound: float) -> None:
    cuda = torch.device("cuda")
    on_gpu = load_dnabert_s(folder, cuda, dtype)
    assert max(furthest(on_gpu, budget, cuda) for budget in (1, 4096)) <= bound


TRITON = """
import sys
from pathlib import Path
import torch
if sys.argv[2] == "absent":
    sys.modules["triton"] = None  # importing it fails
else:
    import triton
from virnucpro.embedding.runner import embed
from virnucpro.models.dnabert_s import load_dnabert_s
model = load_dnabert_s(Path(sys.argv[1]), torch.device("cpu"))
print(model.attention, embed(model, ["ACGT" * 40, "TTGACA" * 9], 4096).tobytes().hex())
"""


def test_triton_changes_nothing(dnabert_folder: Path) -> None:
    """P17: the published code takes another path, in half precision, wherever Triton can be imported."""
    pytest.importorskip("triton")
    said = [
        subprocess.run(
            [sys.executable, "-c", TRITON, dnabert_folder, triton], capture_output=True, text=True, check=True
        ).stdout
        for triton in ("absent", "present")
    ]
    assert said[0] == said[1] and said[0].startswith("plain ")
