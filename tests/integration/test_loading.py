"""Weights of the published shapes: each layout gives the same bits, in little memory, shared by all ranks."""

import multiprocessing
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import EsmConfig, EsmForMaskedLM

from tests.memory import load_and_tell, map_and_tell
from tests.unit.test_esm2 import proteins
from virnucpro.embedding.runner import embed
from virnucpro.models.esm2 import load_esm2
from virnucpro.models.esm2_weights import convert_esm2, read_esm2, rotary_speeds
from virnucpro.models.weights import NoWeights

CPU = torch.device("cpu")
RANKS = 8
# Layers, width, heads.
SHAPES = {"t6_8M": (6, 320, 20), "t12_35M": (12, 480, 20), "t30_150M": (30, 640, 20)}


def write_layouts(folder: Path, shape: tuple[int, int, int]) -> dict[str, Path]:
    """One model of random weights as a Hugging Face folder, as fair-esm's file, and as our safetensors.

    The float32 weights need all their digits, so nothing is stored in half precision.
    """
    layers, width, heads = shape
    torch.manual_seed(layers)
    config = EsmConfig(
        vocab_size=33, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * width, position_embedding_type="rotary", token_dropout=True,
        layer_norm_eps=1e-5, pad_token_id=1, mask_token_id=32, emb_layer_norm_before=False,
        max_position_embeddings=1026,
    )  # fmt: skip
    theirs = EsmForMaskedLM(config).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if name.endswith(("bias", "LayerNorm.weight")):  # they start as zeros and ones
                parameter.add_(torch.randn_like(parameter) * 0.1)
    theirs.save_pretrained(folder / "hub")
    state = {name: value.detach() for name, value in fair_esm_names(theirs, layers).items()}
    sizes = Namespace(
        encoder_layers=layers, encoder_embed_dim=width, encoder_attention_heads=heads, token_dropout=True
    )
    torch.save({"cfg": {"model": sizes}, "model": state}, folder / "esm2.pt")
    convert_esm2(folder / "esm2.pt", folder / "esm2.safetensors")
    return {
        "fair-esm": folder / "esm2.pt",
        "hub": folder / "hub",
        "safetensors": folder / "esm2.safetensors",
    }


def fair_esm_names(theirs: EsmForMaskedLM, layers: int) -> dict[str, torch.Tensor]:
    """The modules of transformers under the names that fair-esm writes, one by one."""
    encoder = theirs.esm.encoder
    head_dim = encoder.layer[0].attention.self.attention_head_size
    modules = {
        "embed_tokens": theirs.esm.embeddings.word_embeddings,
        "emb_layer_norm_after": encoder.emb_layer_norm_after,
    }
    state = {}
    for number in range(layers):
        layer, at = encoder.layer[number], f"layers.{number}"
        modules |= {
            f"{at}.self_attn.q_proj": layer.attention.self.query,
            f"{at}.self_attn.k_proj": layer.attention.self.key,
            f"{at}.self_attn.v_proj": layer.attention.self.value,
            f"{at}.self_attn.out_proj": layer.attention.output.dense,
            f"{at}.self_attn_layer_norm": layer.attention.LayerNorm,
            f"{at}.fc1": layer.intermediate.dense,
            f"{at}.fc2": layer.output.dense,
            f"{at}.final_layer_norm": layer.LayerNorm,
        }
        state[f"{at}.self_attn.rot_emb.inv_freq"] = rotary_speeds(head_dim)
    for module_name, module in modules.items():
        state |= {f"{module_name}.{name}": value for name, value in module.state_dict().items()}
    return {f"encoder.sentence_encoder.{name}": value for name, value in state.items()}


@pytest.fixture(scope="module", params=SHAPES)
def layouts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_layouts(tmp_path_factory.mktemp(request.param), SHAPES[request.param])


def test_every_layout_gives_the_same_bits(layouts: dict[str, Path]) -> None:
    batch = proteins([30, 57, 57, 140])
    first, *others = (embed(load_esm2(path, CPU), batch, 4096) for path in layouts.values())
    assert np.isfinite(first).all() and np.linalg.norm(first[1] - first[2]) > 0.01
    assert all(np.array_equal(first, other) for other in others)


def test_modules_are_built_in_no_memory() -> None:
    with NoWeights():
        layer = torch.nn.Linear(1 << 24, 1 << 24)  # 2^50 bytes
    assert layer.weight.is_meta and layer.weight.shape == (1 << 24, 1 << 24)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_half_precision_is_stored_where_it_loses_nothing(
    fair_esm: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    """A checkpoint in half precision, and the same values in float32, become the same bytes."""
    checkpoint = torch.load(fair_esm, weights_only=False)
    rounded = {name: value.half().to(dtype) for name, value in checkpoint["model"].items()}
    torch.save({"cfg": checkpoint["cfg"], "model": rounded}, tmp_path / "esm2.pt")
    convert_esm2(tmp_path / "esm2.pt", tmp_path / "esm2.safetensors")
    state = read_esm2(tmp_path / "esm2.safetensors")[1]
    assert {value.dtype for value in state.values()} == {torch.float16}
    once, again = (load_esm2(tmp_path / name, CPU) for name in ("esm2.pt", "esm2.safetensors"))
    assert np.array_equal(*(embed(model, proteins([57]), 99) for model in (once, again)))


@pytest.mark.parametrize("layout", ["fair-esm", "hub", "safetensors"])
@pytest.mark.parametrize("layouts", ["t30_150M"], indirect=True)
def test_half_precision_takes_no_float32_copy(
    layouts: dict[str, Path], fair_esm: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process's own memory while float32 weights load as fp16: below 1.2 times the fp16 weights."""
    # Freed blocks go back to the system at once: at this size, what the C library keeps of them would count.
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")
    context = multiprocessing.get_context("spawn")
    told: multiprocessing.Queue[tuple[int, int]] = context.Queue()
    process = context.Process(target=load_and_tell, args=(fair_esm, layouts[layout], torch.float16, told))
    process.start()
    peak, size = told.get(timeout=120)
    process.join()
    assert 0.5 * size < peak < 1.2 * size


@pytest.mark.parametrize("layouts", ["t6_8M"], indirect=True)
def test_eight_ranks_share_the_pages(layouts: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """P32: they also read it at once, and all read the same."""
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")  # freed blocks go back at once
    context = multiprocessing.get_context("spawn")
    ready, told = context.Barrier(RANKS), context.Queue()
    arguments = (list(layouts.values()), ready, told)
    ranks = [context.Process(target=map_and_tell, args=arguments) for _ in range(RANKS)]
    for rank in ranks:
        rank.start()
    by_rank = [told.get(timeout=240) for _ in ranks]
    for rank in ranks:
        rank.join()
    for path, facts in zip(layouts.values(), zip(*by_rank, strict=True), strict=True):
        size = sum(value.numel() * value.element_size() for value in read_esm2(path)[1].values())
        assert len({total for total, _, _ in facts}) == 1
        assert max(own for _, own, _ in facts) < size / 4, "no rank has a copy of its own"
        assert size * 0.9 < sum(share for _, _, share in facts) < 1.3 * size, (
            "all ranks together hold it once"
        )
