"""ESM-2 on packed batches against fair-esm, one sequence at a time."""

import random
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from esm.model.esm2 import ESM2 as FairEsm2
from esm.modules import gelu
from torch import Tensor

from virnucpro.embedding.device import Compute
from virnucpro.embedding.esm2_v1 import load_fair_esm
from virnucpro.embedding.runner import embed
from virnucpro.errors import InputError
from virnucpro.models.attention import Packed
from virnucpro.models.esm2 import ESM2, load_esm2, turn
from virnucpro.models.esm2_weights import read_esm2

CPU = torch.device("cpu")
RESIDUES = "ACDEFGHIKLMNPQRSTVWY"


def proteins(lengths: list[int], seed: int = 1) -> list[str]:
    letters = random.Random(seed)
    return ["".join(letters.choices(RESIDUES, k=length)) for length in lengths]


@pytest.fixture(scope="module")
def ours(fair_esm: Path) -> ESM2:
    return load_esm2(fair_esm, CPU)


@pytest.fixture(scope="module")
def library(fair_esm: Path) -> FairEsm2:
    return load_fair_esm(fair_esm, Compute("cpu", "fp32"))


@torch.no_grad()
def alone(model: FairEsm2, protein: str, layer: int | None = None) -> np.ndarray:
    """What the original takes from the library for one protein: the mean over its residues, last layer."""
    _, _, tokens = model.alphabet.get_batch_converter()([("x", protein)])
    layer = model.num_layers if layer is None else layer
    states: Tensor = model(tokens, repr_layers=[layer])["representations"][layer]
    return states[0, 1 : min(len(protein), 1024) + 1].mean(0).numpy()


def relative_l2(found: np.ndarray, truth: np.ndarray) -> float:
    """Cosine would accept a swapped sequence (P19); this does not."""
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))


@pytest.mark.parametrize("budget", [64, 700, 4096])
def test_packed_equals_the_library(ours: ESM2, library: FairEsm2, budget: int) -> None:
    """P6 (residues only), P7 (token-dropout factor), P9, P11, P12: mixed and equal lengths in one batch."""
    batch = proteins([1, 2, 57, 57, 57, 10, 166, 166, 400, 1022, 3, 58])
    vectors = embed(ours, batch, budget)
    truth = np.stack([alone(library, protein) for protein in batch])
    for row, protein in enumerate(batch):
        assert relative_l2(vectors[row], truth[row]) < 1e-5, protein
        assert np.linalg.norm(truth - vectors[row], axis=1).argmin() == row


@pytest.mark.parametrize(("layers", "width", "heads"), [(1, 16, 2), (2, 24, 3), (5, 40, 10), (7, 64, 1)])
def test_any_size_gives_the_librarys_last_layer(tmp_path: Path, layers: int, width: int, heads: int) -> None:
    """P10: a layer number, a head width and a layout were taken for granted there. The vectors are those
    after the last norm, which the library counts as layer `layers`; the one before differs."""
    torch.manual_seed(layers)
    library = FairEsm2(layers, width, heads).eval()
    sizes = Namespace(
        encoder_layers=layers, encoder_embed_dim=width, encoder_attention_heads=heads, token_dropout=True
    )
    torch.save({"cfg": {"model": sizes}, "model": library.state_dict()}, tmp_path / "esm2.pt")
    ours = load_esm2(tmp_path / "esm2.pt", CPU)
    for protein, vector in zip(proteins([5, 60]), embed(ours, proteins([5, 60]), 999), strict=True):
        assert relative_l2(vector, alone(library, protein)) < 1e-5
        assert relative_l2(vector, alone(library, protein, layer=layers - 1)) > 1e-2
    state = library.state_dict() | {"embed_positions.weight": torch.zeros(1026, width)}
    torch.save({"cfg": {"model": sizes}, "model": state}, tmp_path / "learned.pt")
    with pytest.raises(InputError, match=r"embed_positions\.weight does not belong"):
        load_esm2(tmp_path / "learned.pt", CPU)


def test_pooling_takes_the_first_1024_residues(ours: ESM2, library: FairEsm2) -> None:
    """P18: the original truncates nothing before the model and averages 1,024."""
    (protein,) = proteins([1100])
    found = embed(ours, [protein], 4096)[0]
    assert relative_l2(found, alone(library, protein)) < 1e-5
    assert relative_l2(found, alone(library, protein[:1024])) > 1e-5


def test_neighbours_do_not_matter(ours: ESM2) -> None:
    """P11: attention never crosses, positions begin anew."""
    (mine,) = proteins([60], seed=9)
    beside = [embed(ours, [*proteins([30, 60, 61, 60], seed), mine], 4096)[-1] for seed in (2, 3)]
    assert np.array_equal(beside[0], beside[1])


def test_positions_begin_anew_for_each_sequence() -> None:
    """P11: rotary attention hides a shift, but large positions cost precision."""
    assert Packed.of([[0] * 3, [0] * 3, [0] * 2], CPU).positions.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


def test_gelu_is_the_library_function() -> None:
    """P8: the same function; in half precision ours, rounded once, is nearer to it than the composed form."""
    x = torch.linspace(-8, 8, 20_001)
    exact = gelu(x.double())
    assert (torch.nn.functional.gelu(x) - gelu(x)).abs().max() < 4e-6  # units in the last place at 8: 1e-6
    assert (torch.nn.functional.gelu(x, approximate="tanh") - gelu(x)).abs().max() > 1e-4
    half = x.half()
    ours = (torch.nn.functional.gelu(half).double() - gelu(half.double())).abs().max()
    assert ours <= (gelu(half).double() - gelu(half.double())).abs().max()
    assert exact.isfinite().all()


def test_gelu_of_the_layer(ours: ESM2, library: FairEsm2) -> None:
    """P8, where it is used: one layer's feed-forward alone."""
    x = torch.randn(50, 32, generator=torch.Generator().manual_seed(1)) * 5
    layer, other = ours.layers[0], library.layers[0]
    with torch.no_grad():
        found = layer.fc2.add_to(torch.zeros(50, 32), layer.fc1.gelu(x))
        truth = other.fc2(gelu(other.fc1(x)))
    assert (found - truth).abs().max() < 1e-5


def test_rotary_tables_stay_in_float32(fair_esm: Path) -> None:
    """P9: half-precision weights, but speeds and tables as the checkpoint has them."""
    half = load_esm2(fair_esm, CPU, torch.float16)
    assert half.inv_freq.dtype == torch.float32
    cos = half._turns(torch.arange(1022)).real
    speeds = read_esm2(fair_esm)[1]["layers.0.self_attn.rot_emb.inv_freq"].double()
    truth = (torch.arange(1022).double()[:, None] * speeds).cos()
    assert (cos[:, 0, 0].double() - truth).abs().max() < 1e-4
    assert half.layers[0].fc1.weight.dtype == torch.float16


def test_half_precision_is_near(fair_esm: Path, ours: ESM2) -> None:
    half = load_esm2(fair_esm, CPU, torch.float16)
    batch = proteins([20, 57, 57, 166])
    for a, b in zip(embed(half, batch, 4096), embed(ours, batch, 4096), strict=True):
        assert relative_l2(a, b) < 2e-3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_rotary_is_float32_rounded_once(ours: ESM2, dtype: torch.dtype) -> None:
    """P9: to the bit, for every pair of numbers and up to the longest protein; v is left alone."""
    random = torch.Generator().manual_seed(1)
    qkv = (torch.randn(1024, 3, 4, 8, generator=random) * 10).to(dtype)
    turns = ours._turns(torch.arange(1024))
    pairs = torch.view_as_complex(qkv[:, :2].float().unflatten(-1, (-1, 2)))
    truth = torch.view_as_real(pairs * turns).flatten(-2).to(dtype)
    given = qkv.clone()
    assert torch.equal(turn(given[:, :2], turns), truth)
    assert torch.equal(given[:, 2], qkv[:, 2])


@torch.inference_mode()
def test_carried_biases_change_nothing_but_the_rounding(fair_esm: Path, ours: ESM2) -> None:
    """What a GPU runs in half precision, here on CPU: the same in float32, and in half no further off."""
    batch = Packed.of(ours.tokenize(proteins([20, 57, 57, 1, 166])), CPU)
    half, carried = (load_esm2(fair_esm, CPU, torch.float16) for _ in range(2))
    carried.carry_biases()
    assert carried.layers[0].fc2.bias is None and carried.layers[0].out_proj.bias is None
    assert carried.layers[0].fc2.weight.shape == (32, 4 * 32 + 64)
    assert torch.allclose(carried.in_float32(batch), half.in_float32(batch), atol=1e-6)
    truth = half.in_float32(batch)
    before, after = ((model(batch) - truth).norm() / truth.norm() for model in (half, carried))
    assert after < 1.1 * before < 2e-3


@torch.inference_mode()
def test_in_float32_is_the_model_of_the_rounded_weights(fair_esm: Path, tmp_path: Path) -> None:
    """Where a checkpoint holds half-precision numbers, as the published ones do, that is its own model."""
    checkpoint = torch.load(fair_esm, weights_only=False)
    checkpoint["model"] = {
        name: value if "inv_freq" in name else value.half().float()
        for name, value in checkpoint["model"].items()
    }
    torch.save(checkpoint, tmp_path / "rounded.pt")
    half, whole = load_esm2(fair_esm, CPU, torch.float16), load_esm2(tmp_path / "rounded.pt", CPU)
    batch = Packed.of(half.tokenize(proteins([20, 57, 57, 166])), CPU)
    assert torch.allclose(half.in_float32(batch), whole(batch), atol=1e-6)
    assert torch.equal(whole.in_float32(batch), whole(batch))
    assert not torch.allclose(half(batch), whole(batch), atol=1e-5)
    assert half.layers[0].fc1.weight.dtype == torch.float16


def test_weights_that_half_precision_cannot_hold_are_named(fair_esm: Path, tmp_path: Path) -> None:
    checkpoint = torch.load(fair_esm, weights_only=False)
    checkpoint["model"]["encoder.sentence_encoder.layers.1.fc1.bias"][3] = 1e6
    torch.save(checkpoint, tmp_path / "esm2.pt")
    load_esm2(tmp_path / "esm2.pt", CPU)
    load_esm2(tmp_path / "esm2.pt", CPU, torch.bfloat16)
    with pytest.raises(InputError, match=r"esm2\.pt: layers\.1\.fc1\.bias holds .* use --precision fp32"):
        load_esm2(tmp_path / "esm2.pt", CPU, torch.float16)
