"""Ways to embed the same proteins with the same weights: each a function that makes an `Engine`.

An engine takes proteins and gives (n, dim) float32, the means over residues, in input order. What it needs to
be fast (order, batches) is done inside, and counts; loading and compiling do not.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from esm.data import Alphabet, FastaBatchedDataset

from virnucpro.embedding.device import Compute
from virnucpro.embedding.esm2_v1 import TOKENS_PER_BATCH, load_fair_esm
from virnucpro.embedding.plan import default_budget, plan
from virnucpro.models.attention import Packed
from virnucpro.models.esm2 import load_esm2
from virnucpro.models.esm2_weights import read_esm2

Engine = Callable[[list[str]], npt.NDArray[np.float32]]
ALPHABET = Alphabet.from_architecture("ESM-1b")


def ours(weights: Path, compute: Compute, attention: str = "auto", budget: int | None = None) -> Engine:
    """Packed batches, as a rank of v2.0 runs them."""
    return _packed(weights, compute, attention, budget, compiled=False)


def _packed(weights: Path, compute: Compute, attention: str, budget: int | None, compiled: bool) -> Engine:
    device = compute.torch_device
    model = load_esm2(weights, device, compute.dtype, attention)
    for layer in model.layers if compiled else ():
        layer.compile(dynamic=True)

    @torch.inference_mode()
    def embed(proteins: list[str]) -> npt.NDArray[np.float32]:
        tokens, lengths = model.tokenize_flat([protein.encode() for protein in proteins])
        parts = np.split(tokens, np.cumsum(lengths)[:-1])
        vectors = np.empty((len(proteins), model.dim), dtype=np.float32)
        coming = []
        for rows in plan(lengths, budget or default_budget(device, model.dim)):
            batch = Packed.of_flat(np.concatenate([parts[row] for row in rows]), lengths[rows])
            batch = batch.pin_memory() if device.type == "cuda" else batch
            coming.append((rows, model(batch.to(device, non_blocking=True))))
        for rows, found in coming:
            vectors[rows] = found.cpu().numpy()
        return vectors

    return embed


def ours_compiled(weights: Path, compute: Compute) -> Engine:
    """The same, what lies between the products fused by torch.compile; one shape for all batches."""
    return _packed(weights, compute, "auto", None, compiled=True)


def fair_esm(weights: Path, compute: Compute) -> Engine:
    """The v1.0 way: fair-esm's model and batches."""
    model = load_fair_esm(weights, compute)
    converter, layer = model.alphabet.get_batch_converter(), model.num_layers

    def run(batch: list[tuple[str, str]]) -> torch.Tensor:
        tokens = converter(batch)[2].to(compute.torch_device)
        states: torch.Tensor = model(tokens, repr_layers=[layer])["representations"][layer]
        return states

    @torch.inference_mode()
    def embed(proteins: list[str]) -> npt.NDArray[np.float32]:
        vectors = np.empty((len(proteins), model.embed_dim), dtype=np.float32)
        data = FastaBatchedDataset([str(row) for row in range(len(proteins))], proteins)
        for rows in data.get_batch_indices(TOKENS_PER_BATCH, extra_toks_per_seq=1):
            states = run([data[row] for row in rows])
            for at, row in enumerate(rows):
                vectors[row] = states[at, 1 : len(proteins[row]) + 1].float().mean(0).cpu().numpy()
        return vectors

    return embed


def transformers(weights: Path, compute: Compute) -> Engine:
    """Hugging Face's EsmModel with SDPA: sorted by length, padded."""
    model = _hugging_face(weights).to(compute.torch_device, compute.dtype)
    return _padded(
        lambda tokens, mask: model(
            torch.from_numpy(tokens).to(compute.torch_device), torch.from_numpy(mask).to(compute.torch_device)
        ).last_hidden_state.float(),
        model.config.hidden_size,
    )


def faesm(weights: Path, compute: Compute) -> Engine:
    """FAESM: transformers' model with its own attention, flash-attn's where that is installed, else SDPA. It
    needs transformers 4."""
    from faesm.esm import FAEsmModel, flash_attn_installed

    theirs = _hugging_face(weights, "eager")
    theirs.config.use_fa = flash_attn_installed
    model = FAEsmModel(theirs.config, add_pooling_layer=False)
    _load(model, theirs.state_dict(), weights)
    model = model.eval().to(compute.torch_device, compute.dtype)
    return _padded(
        lambda tokens, mask: model(
            torch.from_numpy(tokens).to(compute.torch_device), torch.from_numpy(mask).to(compute.torch_device)
        ).last_hidden_state.float(),
        model.config.hidden_size,
    )


def onnx_runtime(weights: Path, compute: Compute) -> Engine:
    """The same model in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(_onnx(weights)), options, providers=["CPUExecutionProvider"])
    return _padded(
        lambda tokens, mask: torch.from_numpy(session.run(None, {"tokens": tokens, "mask": mask})[0]),
        read_esm2(weights)[0].embed_dim,
    )


def openvino(weights: Path, compute: Compute) -> Engine:
    """The same model in OpenVINO, in float32."""
    import openvino as ov

    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
    model = ov.Core().compile_model(ov.convert_model(str(_onnx(weights))), "CPU", settings)
    return _padded(
        lambda tokens, mask: torch.from_numpy(model([tokens, mask])[0]), read_esm2(weights)[0].embed_dim
    )


def _padded(states: Callable[[Any, Any], torch.Tensor], dim: int) -> Engine:
    """Sorted by length, batches of as many tokens as fair-esm's, padded to their longest."""

    @torch.inference_mode()
    def embed(proteins: list[str]) -> npt.NDArray[np.float32]:
        vectors = np.empty((len(proteins), dim), dtype=np.float32)
        lengths = np.array([len(protein) + 2 for protein in proteins])
        for rows in plan(lengths, TOKENS_PER_BATCH):
            tokens = np.full((len(rows), lengths[rows].max()), ALPHABET.padding_idx, dtype=np.int64)
            for at, row in enumerate(rows):
                encoded = [ALPHABET.cls_idx, *ALPHABET.encode(proteins[row]), ALPHABET.eos_idx]
                tokens[at, : len(encoded)] = encoded
            mask = (tokens != ALPHABET.padding_idx).astype(np.int64)
            found = states(tokens, mask)
            residues = torch.from_numpy(mask).to(found.device)
            residues[:, 0] = 0
            residues[torch.arange(len(rows)), torch.from_numpy(lengths[rows] - 1)] = 0
            sums = (found * residues[..., None]).sum(1)
            vectors[rows] = (sums / residues.sum(1, keepdim=True)).cpu().numpy()
        return vectors

    return embed


def _hugging_face(weights: Path, attention: str = "sdpa") -> Any:
    from transformers import EsmConfig, EsmModel

    config, state = read_esm2(weights)
    model = EsmModel(
        EsmConfig(
            vocab_size=len(ALPHABET), hidden_size=config.embed_dim, num_hidden_layers=config.num_layers,
            num_attention_heads=config.attention_heads, intermediate_size=4 * config.embed_dim,
            position_embedding_type="rotary", token_dropout=config.token_dropout, layer_norm_eps=1e-5,
            emb_layer_norm_before=False, max_position_embeddings=1026, pad_token_id=ALPHABET.padding_idx,
            mask_token_id=ALPHABET.mask_idx, attn_implementation=attention,
        ),
        add_pooling_layer=False,
    )  # fmt: skip
    _load(model, {_hugging_face_name(name): value for name, value in state.items()}, weights)
    return model.eval()


def _load(model: torch.nn.Module, theirs: dict[str, torch.Tensor], weights: Path) -> None:
    """Load by name; rotary speeds as the checkpoint has them, where the model would form its own."""
    kept = {name: theirs[name] for name in model.state_dict() if name in theirs}
    missing = model.load_state_dict(kept, strict=False).missing_keys
    unused = ("contact_head", "embeddings.position_embeddings")
    assert not [n for n in missing if not n.startswith(unused) and not n.endswith("inv_freq")], missing
    speeds = read_esm2(weights)[1]["layers.0.self_attn.rot_emb.inv_freq"].float()
    for name, buffer in model.named_buffers():
        if name.endswith("inv_freq"):
            buffer.copy_(speeds)


def _hugging_face_name(name: str) -> str:
    renamed = {
        "layers.": "encoder.layer.",
        "self_attn_layer_norm": "attention.LayerNorm",
        "self_attn.q_proj": "attention.self.query",
        "self_attn.k_proj": "attention.self.key",
        "self_attn.v_proj": "attention.self.value",
        "self_attn.out_proj": "attention.output.dense",
        "self_attn.rot_emb": "attention.self.rotary_embeddings",
        "final_layer_norm": "LayerNorm",
        "fc1": "intermediate.dense",
        "fc2": "output.dense",
        "emb_layer_norm_after": "encoder.emb_layer_norm_after",
        "embed_tokens": "embeddings.word_embeddings",
    }
    for ours, theirs in renamed.items():
        name = name.replace(ours, theirs)
    return name


def _onnx(weights: Path) -> Path:
    """Hugging Face's model as ONNX beside the weights, made once."""
    path = weights.with_suffix(".onnx")
    if not path.exists():

        class States(torch.nn.Module):
            def __init__(self, model: Any) -> None:
                super().__init__()
                self.model = model

            def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
                states: torch.Tensor = self.model(tokens, mask).last_hidden_state
                return states

        tokens = torch.randint(4, 24, (2, 9))
        axes = {name: {0: "sequences", 1: "tokens"} for name in ("tokens", "mask", "states")}
        torch.onnx.export(
            States(_hugging_face(weights)), (tokens, torch.ones_like(tokens)), str(path), dynamo=False,
            input_names=["tokens", "mask"], output_names=["states"], dynamic_axes=axes, opset_version=17,
        )  # fmt: skip
    return path


# Maker, the module it needs, the devices it is measured on.
ENGINES: dict[str, tuple[Callable[[Path, Compute], Engine], str, tuple[str, ...]]] = {
    "ours": (ours, "torch", ("cpu", "cuda")),
    "ours, layers compiled": (ours_compiled, "torch", ("cuda",)),
    "fair-esm, v1.0 batches": (fair_esm, "esm", ("cpu", "cuda")),
    "transformers, SDPA": (transformers, "transformers", ("cpu", "cuda")),
    "faesm": (faesm, "faesm", ("cpu", "cuda")),
    "ONNX Runtime": (onnx_runtime, "onnxruntime", ("cpu",)),
    "OpenVINO": (openvino, "openvino", ("cpu",)),
}
BASE = "fair-esm, v1.0 batches"


def available(device: str) -> dict[str, Callable[[Path, Compute], Engine]]:
    """The engines that run here."""
    return {
        name: make
        for name, (make, module, devices) in ENGINES.items()
        if device in devices and find_spec(module) is not None
    }
