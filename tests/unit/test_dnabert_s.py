"""DNABERT-S on packed batches against a plain, padded, step-by-step reading of the published model."""

import json
import math
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from virnucpro.embedding.runner import embed
from virnucpro.errors import InputError
from virnucpro.models.dnabert_s import DnabertS, alibi, alibi_slopes, load_dnabert_s

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(dnabert_folder: Path) -> DnabertS:
    return load_dnabert_s(dnabert_folder, CPU)


def sequences(lengths: list[int], seed: int = 1) -> list[str]:
    letters = random.Random(seed)
    return ["".join(letters.choices("ACGT", k=length)) for length in lengths]


def alone(folder: Path, tokens: list[int]) -> np.ndarray:
    """One sequence through the weights by their published names: scores, softmax, GLU, post-norm."""
    w = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    heads, eps, dim = config["num_attention_heads"], config["layer_norm_eps"], config["hidden_size"]

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (dim,), w[f"{name}.weight"], w[f"{name}.bias"], eps)

    x = w["bert.embeddings.word_embeddings.weight"][tokens]
    x = norm(x + w["bert.embeddings.token_type_embeddings.weight"][0], "bert.embeddings.LayerNorm")
    n = len(tokens)
    distance = torch.tensor([[abs(i - j) for j in range(n)] for i in range(n)], dtype=torch.float32)
    # 6 heads: the four slopes of 4 heads, then every other one of 8
    slopes = [2 ** (-8 * i / 4) for i in range(1, 5)] + [2 ** (-8 * i / 8) for i in (1, 3)]
    for layer in range(config["num_hidden_layers"]):
        at = f"bert.encoder.layer.{layer}"
        qkv = F.linear(x, w[f"{at}.attention.self.Wqkv.weight"], w[f"{at}.attention.self.Wqkv.bias"])
        q, k, v = (part.view(n, heads, dim // heads) for part in qkv.split(dim, dim=1))
        out = []
        for head in range(heads):
            score = q[:, head] @ k[:, head].T / math.sqrt(dim // heads) - slopes[head] * distance
            out.append(score.softmax(dim=1) @ v[:, head])
        dense = f"{at}.attention.output.dense"
        x = norm(
            F.linear(torch.cat(out, 1), w[f"{dense}.weight"], w[f"{dense}.bias"]) + x,
            f"{at}.attention.output.LayerNorm",
        )
        gated = F.linear(x, w[f"{at}.mlp.gated_layers.weight"])
        gate, value = gated.split(config["intermediate_size"], dim=1)
        hidden = gate * 0.5 * (1 + torch.erf(gate / math.sqrt(2))) * value
        x = norm(
            F.linear(hidden, w[f"{at}.mlp.wo.weight"], w[f"{at}.mlp.wo.bias"]) + x, f"{at}.mlp.layernorm"
        )
    return x.mean(0).numpy()


@pytest.mark.parametrize("budget", [50, 4096])
def test_packed_equals_one_by_one(model: DnabertS, dnabert_folder: Path, budget: int) -> None:
    batch = sequences([1, 3, 170, 170, 171, 500, 500, 60, 2500])
    for found, tokens in zip(embed(model, batch, budget), model.tokenize(batch), strict=True):
        truth = alone(dnabert_folder, tokens)
        assert np.linalg.norm(found - truth) / np.linalg.norm(truth) < 1e-5


def test_mean_takes_cls_and_sep(model: DnabertS) -> None:
    (tokens,) = model.tokenize(["ACGTACGT"])
    assert tokens[0] == 1 and tokens[-1] == 2


def test_no_truncation(model: DnabertS) -> None:
    """Windows of more than 512 tokens are taken whole, as in the original."""
    (long,) = sequences([4000])
    assert len(model.tokenize([long])[0]) > 600
    assert not np.array_equal(embed(model, [long], 8192), embed(model, [long[:3000]], 8192))


@pytest.mark.parametrize(("heads", "last"), [(8, 2**-8), (12, 2**-3.5)])
def test_alibi_slopes(heads: int, last: float) -> None:
    """Powers of two follow the paper; 12 heads, DNABERT-S's own, take 8 slopes and 4 of 16."""
    bias = alibi(alibi_slopes(heads), 3)
    assert bias.shape == (heads, 3, 3)
    assert bias[-1, 0, 1].item() == pytest.approx(-last) and bias[0, 2, 0].item() == pytest.approx(-2 * 0.5)


def test_pytorch_bin_loads_like_safetensors(dnabert_folder: Path, model: DnabertS, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((dnabert_folder / name).read_bytes())
    torch.save(load_file(dnabert_folder / "model.safetensors"), tmp_path / "pytorch_model.bin")
    batch = sequences([100, 300])
    assert np.array_equal(embed(load_dnabert_s(tmp_path, CPU), batch, 999), embed(model, batch, 999))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("hidden_size", "48", "sizes that no DNABERT-S has"),
        ("vocab_size", 300.0, "sizes that no DNABERT-S has"),
        ("num_attention_heads", 0, "sizes that no DNABERT-S has"),
        ("num_attention_heads", 5, "sizes that no DNABERT-S has"),
        ("num_attention_heads", True, "sizes that no DNABERT-S has"),
        ("num_hidden_layers", 10**9, "sizes that no DNABERT-S has"),
        ("num_hidden_layers", 100, "its weights do not fit its config.json .* too few"),
        ("layer_norm_eps", "tiny", "sizes that no DNABERT-S has"),
        ("layer_norm_eps", 1.5, "sizes that no DNABERT-S has"),
        ("vocab_size", 9, "tokenizer.json: has token 299, but the model's config.json has 9"),
    ],
)
def test_sizes_that_cannot_be(
    dnabert_folder: Path, tmp_path: Path, key: str, value: object, words: str
) -> None:
    folder = shutil.copytree(dnabert_folder, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(InputError, match=rf"{folder}.*{words}"):
        load_dnabert_s(folder, CPU)


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ({"id": "[CLS]", "ids": [999], "tokens": ["[CLS]"]}, "has token 999"),
        (None, "not a tokenizer"),  # the library takes it, and panics when the template is used
    ],
)
def test_a_tokenizers_template_is_tried(
    dnabert_folder: Path, tmp_path: Path, token: dict[str, object] | None, words: str
) -> None:
    folder = shutil.copytree(dnabert_folder, tmp_path / "model")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    special = tokenizer["post_processor"]["special_tokens"]
    special["[CLS]" if token else "[NONE]"] = token or special.pop("[CLS]")
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(InputError, match=rf"{folder / 'tokenizer.json'}: {words}"):
        load_dnabert_s(folder, CPU)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_damaged_files_are_named(dnabert_folder: Path, tmp_path: Path, name: str, damage: str) -> None:
    for path in dnabert_folder.iterdir():
        content = path.read_bytes()
        if path.name != name:
            (tmp_path / path.name).write_bytes(content)
        elif damage == "cut":
            (tmp_path / path.name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=name):
        load_dnabert_s(tmp_path, CPU)
