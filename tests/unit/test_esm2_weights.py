"""ESM-2 weights in the layouts that others publish, made here by their own classes."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from transformers import EsmConfig, EsmForMaskedLM, EsmModel

from tests.unit.test_esm2 import proteins, relative_l2
from virnucpro.embedding.device import Compute
from virnucpro.embedding.esm2_v1 import load_fair_esm
from virnucpro.embedding.runner import embed
from virnucpro.errors import InputError
from virnucpro.models.checksums import weights_sha256
from virnucpro.models.esm2 import ESM2, load_esm2
from virnucpro.models.esm2_weights import read_esm2, read_esm2_config, rotary_speeds, write_esm2
from virnucpro.models.weights import write_safetensors
from virnucpro.pipeline.multi_gpu_inference import run_multi_gpu_inference

CPU = torch.device("cpu")
LENGTHS = [20, 57, 57, 166, 400]


@pytest.fixture(scope="module")
def theirs() -> EsmForMaskedLM:
    """A model of 3 layers, heads and all, with random weights and fair-esm's rotary speeds."""
    torch.manual_seed(3)
    config = EsmConfig(
        vocab_size=33, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=128,
        position_embedding_type="rotary", token_dropout=True, layer_norm_eps=1e-5, pad_token_id=1,
        mask_token_id=32, emb_layer_norm_before=False, max_position_embeddings=1026,
    )  # fmt: skip
    model = EsmForMaskedLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms start as zeros and ones: nothing to mix up
            parameter.add_(torch.randn_like(parameter) * 0.1)
        for name, buffer in model.named_buffers():
            if name.endswith("inv_freq"):
                buffer.copy_(rotary_speeds(8))
    return model


def save(model: EsmForMaskedLM, folder: Path, shard_size: str = "1GB") -> Path:
    model.save_pretrained(folder, max_shard_size=shard_size)
    return folder


@torch.inference_mode()
def alone(model: EsmModel, tokens: list[int]) -> np.ndarray:
    states = model(torch.tensor([tokens]), torch.ones(1, len(tokens), dtype=torch.long)).last_hidden_state
    return states[0, 1:-1].mean(0).numpy()


@pytest.mark.parametrize("shard_size", ["1GB", "20KB"])
def test_a_hugging_face_folder_gives_what_their_model_gives(
    theirs: EsmForMaskedLM, tmp_path: Path, shard_size: str
) -> None:
    folder = save(theirs, tmp_path / "esm2", shard_size)
    assert (folder / "model.safetensors.index.json").exists() == (shard_size == "20KB")
    ours = load_esm2(folder, CPU)
    batch = proteins(LENGTHS)
    for vector, tokens in zip(embed(ours, batch, 4096), ours.tokenize(batch), strict=True):
        assert relative_l2(vector, alone(theirs.esm, tokens)) < 1e-5


def layouts(theirs: EsmForMaskedLM, folder: Path) -> list[Path]:
    """One model as a Hugging Face folder, as the same with `.bin`, and as our safetensors."""
    hub = save(theirs, folder / "hub")
    old = folder / "old"
    old.mkdir()
    (old / "config.json").write_text((hub / "config.json").read_text())
    torch.save(theirs.state_dict(), old / "pytorch_model.bin")
    write_esm2(folder / "esm2.safetensors", *read_esm2(hub))
    return [hub, old, folder / "esm2.safetensors"]


def test_every_layout_gives_the_same_bits(fair_esm: Path, theirs: EsmForMaskedLM, tmp_path: Path) -> None:
    batch = proteins(LENGTHS)
    paths = layouts(theirs, tmp_path)
    first, *others = [embed(load_esm2(path, CPU), batch, 4096) for path in paths]
    assert all(np.array_equal(first, other) for other in others)
    assert len({read_esm2_config(path) for path in paths}) == 1
    assert not np.allclose(first, embed(load_esm2(fair_esm, CPU), batch, 4096)), "another model differs"


def test_v1_reads_every_layout(theirs: EsmForMaskedLM, tmp_path: Path) -> None:
    for path in layouts(theirs, tmp_path):
        assert load_fair_esm(path, Compute("cpu", "fp32")).num_layers == 3


def test_rotary_speeds_are_those_of_fair_esm_rounded(fair_esm: Path) -> None:
    """P9: fair-esm's files hold them so; what a Hugging Face folder holds is not asked."""
    speeds = read_esm2(fair_esm)[1]["layers.0.self_attn.rot_emb.inv_freq"]
    assert torch.equal(rotary_speeds(8), speeds.half().float())


def test_v2_takes_a_folder_and_says_which_weights_it_was(theirs: EsmForMaskedLM, tmp_path: Path) -> None:
    """P20: another file in the folder is another model."""
    (tmp_path / "output_1.fa").write_text(">a\nMKL\n")
    config: dict[str, Any] = {"model_type": "esm2", "model_name": "hub", "device": "cpu"}
    config["weights"] = save(theirs, tmp_path / "hub")
    output, failed = run_multi_gpu_inference(
        [tmp_path / "output_1.fa"], tmp_path, config | {"device": "cpu"}, 1
    )
    assert not failed
    with h5py.File(output) as file:
        vector, digest = file["embeddings"][0], file.attrs["weights_sha256"]
    assert np.array_equal(vector, embed(load_esm2(tmp_path / "hub", CPU), ["MKL"], 4096)[0])
    assert digest == weights_sha256(tmp_path / "hub")
    (tmp_path / "hub" / "config.json").write_text("{}")
    assert digest != weights_sha256(tmp_path / "hub")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"position_embedding_type": "absolute"}, "not an ESM-2 .position_embedding_type is 'absolute'"),
        ({"model_type": "bert"}, "not an ESM-2 .model_type"),
        ({"hidden_size": 64}, "does not belong into an ESM-2 of the size that the file states"),
        ({"num_hidden_layers": 4}, r"layers\.3.* is missing"),
        ({"num_hidden_layers": 2}, r"layers\.2.* does not belong"),
        ({"num_hidden_layers": "3"}, "sizes that no ESM-2 has"),
        ({"num_hidden_layers": 10**9}, "sizes that no ESM-2 has"),
        ({"num_hidden_layers": 10**6}, "states 1000000 layers and holds fewer tensors"),
        ({"hidden_size": 32.0}, "sizes that no ESM-2 has"),
        ({"num_attention_heads": 0}, "sizes that no ESM-2 has"),
        ({"num_attention_heads": 32}, "sizes that no ESM-2 has"),  # one number a head: nothing to turn
        ({"token_dropout": "yes"}, "sizes that no ESM-2 has"),
    ],
)
def test_a_folder_of_another_model_is_refused(
    theirs: EsmForMaskedLM, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    folder = save(theirs, tmp_path / "esm2")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(InputError, match=words):
        load_esm2(folder, CPU)


def test_a_folder_of_esm1b_states_no_kind_of_positions(theirs: EsmForMaskedLM, tmp_path: Path) -> None:
    """transformers leaves out what is its default, and that is "absolute"."""
    folder = save(theirs, tmp_path / "esm2")
    config = json.loads((folder / "config.json").read_text())
    assert config.pop("position_embedding_type") == "rotary"
    assert EsmConfig().position_embedding_type == "absolute"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"config.json: not an ESM-2 .position_embedding_type is 'absolute'"):
        load_esm2(folder, CPU)


def test_a_folder_without_weights_is_refused(theirs: EsmForMaskedLM, tmp_path: Path) -> None:
    folder = save(theirs, tmp_path / "esm2")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"neither model.safetensors nor pytorch_model.bin"):
        load_esm2(folder, CPU)
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"config.json: no such file"):
        load_esm2(folder, CPU)


def test_safetensors_of_a_fair_esm_checkpoint_give_the_same_bits(fair_esm: Path, tmp_path: Path) -> None:
    write_esm2(tmp_path / "esm2.safetensors", *read_esm2(fair_esm))
    ours: list[ESM2] = [load_esm2(path, CPU) for path in (fair_esm, tmp_path / "esm2.safetensors")]
    assert np.array_equal(*(embed(model, proteins(LENGTHS), 4096) for model in ours))


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights", "cut"])
def test_damaged_weights_are_named(fair_esm: Path, tmp_path: Path, suffix: str, content: bytes | str) -> None:
    path = tmp_path / f"esm2{suffix}"
    if content == "cut":
        write_esm2(tmp_path / "whole.safetensors", *read_esm2(fair_esm))
        whole = fair_esm if suffix == ".pt" else tmp_path / "whole.safetensors"
        content = whole.read_bytes()[:-2000]
    assert isinstance(content, bytes)
    path.write_bytes(content)
    with pytest.raises(InputError, match=path.name):
        load_esm2(path, CPU)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "1" * 5_000, "[]", '{"num_layers": 3}', '{"esm2": 1}', "{", "null"]
)
def test_sizes_that_are_none(fair_esm: Path, tmp_path: Path, text: str) -> None:
    path = tmp_path / "esm2.safetensors"
    write_safetensors(path, read_esm2(fair_esm)[1], {"esm2": text})
    with pytest.raises(InputError, match=rf"{path}: no ESM-2 sizes in its metadata"):
        load_esm2(path, CPU)


def test_other_checkpoints_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="not a fair-esm ESM-2 checkpoint"):
        load_esm2(tmp_path / "other.pt", CPU)
