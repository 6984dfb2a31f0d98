"""Whether the numbers are right: attention kernels, both models in each precision."""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.common import random_proteins, worst_distance
from benchmarks.fidelity import fair_esm_alone, mixed_proteins
from benchmarks.gpu_check.setting import BOUNDS, Found, Setting, packed, require, two_digits
from benchmarks.gpu_check.weights import dnabert_config, dnabert_s, esm2, esm2_file
from virnucpro.defaults import ATTENTION
from virnucpro.embedding.device import Compute
from virnucpro.errors import InputError
from virnucpro.models.attention import Packed, attend, choose_attention
from virnucpro.models.dnabert_s import DnabertS, alibi, alibi_slopes

HEAD_SIZES = (8, 16, 24, 32, 40, 64, 96, 128)
HEADS = 4
LENGTHS = (1, 2, 3, 63, 64, 65, 127, 128, 129, 172, 172)
_NAMES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


@torch.inference_mode()
def attention(setting: Setting) -> Found:
    """Every back end in every precision against plain attention in float64, and with ALiBi."""
    lengths = np.array([*LENGTHS, 1024] if setting.full else LENGTHS)
    batch = Packed.of_flat(np.zeros(lengths.sum(), dtype=np.int64), lengths).to(setting.device)
    sizes = HEAD_SIZES if setting.on_gpu else HEAD_SIZES[::3]
    rows = []
    for dtype, by in product(setting.precisions, ATTENTION[1:]):
        row: Found = {"attention": by, "precision": _NAMES[dtype]}
        try:
            for size in sizes:
                choose_attention(by, setting.device, dtype, size)
        except InputError as error:
            rows.append(row | {"distance": None, "with ALiBi": None, "why not": str(error)})
            continue
        row["distance"] = _furthest(batch, sizes, dtype, by)
        slopes = alibi_slopes(HEADS).to(setting.device)
        row["with ALiBi"] = None if by == "varlen" else _furthest(batch, sizes, dtype, by, slopes)
        rows.append(row)
    ran = sorted({row["attention"] for row in rows if row["distance"] is not None})
    return {"words": f"{', '.join(ran)}: head sizes {sizes[0]} to {sizes[-1]}", "rows": rows}


def _furthest(
    batch: Packed, sizes: Sequence[int], dtype: torch.dtype, by: str, slopes: Tensor | None = None
) -> float:
    """The worst distance of all head sizes. Raises `Wrong` beyond the bound, and for what is no number."""
    distances = {size: _attention(batch, size, dtype, by, slopes) for size in sizes}
    with_alibi = "" if slopes is None else " with ALiBi"
    for size, distance in distances.items():
        words = f"{by} in {_NAMES[dtype]}{with_alibi}, heads of {size}: {distance:.1e} away"
        require(distance <= BOUNDS[dtype], words)
    return two_digits(max(distances.values()))


def _attention(batch: Packed, head_size: int, dtype: torch.dtype, by: str, slopes: Tensor | None) -> float:
    """How far one call is from plain attention in float64; biases go in as DNABERT-S makes them."""
    random = torch.Generator(batch.tokens.device).manual_seed(head_size)
    shape = (3, len(batch.tokens), HEADS, head_size)
    q, k, v = torch.randn(shape, generator=random, device=batch.tokens.device).to(dtype).unbind()
    exact = None if slopes is None else alibi(slopes, -(-batch.longest // 8) * 8).double()
    bias = slopes if by == "flash" else None if exact is None else exact.to(dtype)
    truth = attend(q.double(), k.double(), v.double(), batch, exact, by="plain")
    found = attend(q, k, v, batch, bias, by=by).double()
    return float((found - truth).norm() / truth.norm())


@torch.inference_mode()
def esm2_exact(setting: Setting) -> Found:
    """ESM-2 in every back end against fair-esm in float32, one protein at a time; then the whole shape in
    half precision against its own weights in float32."""
    proteins = mixed_proteins(200) if setting.full else random_proteins(16, 1, 170)
    weights = esm2_file(setting, setting.small)
    truth = fair_esm_alone(weights, proteins, Compute(setting.device.type, "fp32"))
    rows: list[Found] = []
    for dtype, by in product((torch.float32, torch.float16), ATTENTION[1:]):
        try:
            model = esm2(setting, setting.small, dtype, by)
        except InputError:
            continue  # `attention` says why
        packs = [packed(model, proteins[at : at + 8]) for at in range(0, len(proteins), 8)]
        found = np.concatenate([model(pack.to(setting.device)).cpu().numpy() for pack in packs])
        row = {"shape": setting.small, "against": "fair-esm", "precision": _NAMES[dtype], "attention": by}
        rows.append(_bounded(row, dtype, found, truth))
    if setting.shape != setting.small:
        model = esm2(setting, setting.shape)
        some = packed(model, random_proteins(64)).to(setting.device)
        found, truth = model(some).cpu().numpy(), model.in_float32(some).cpu().numpy()
        row = {"shape": setting.shape, "against": "itself in fp32", "precision": "fp16"}
        rows.append(_bounded(row | {"attention": model.attention}, torch.float16, found, truth))
    return {"words": _worst(rows), "rows": rows}


@torch.inference_mode()
def dnabert_s_exact(setting: Setting) -> Found:
    """DNABERT-S in fp32 and fp16, in flash-attn too where it runs, windows of mixed lengths in one batch,
    against float64, one at a time."""
    random = np.random.default_rng(1)
    lengths = random.integers(1, 512 if setting.full else 60, 64 if setting.full else 12)
    vocabulary = dnabert_config(setting).vocab_size
    windows = [random.integers(0, vocabulary, length) for length in lengths]

    def embed(model: DnabertS, packs: list[list[npt.NDArray[np.int64]]]) -> npt.NDArray[np.float32]:
        batches = (Packed.of_flat(np.concatenate(pack), np.array([*map(len, pack)])) for pack in packs)
        return np.concatenate([model(batch.to(setting.device)).cpu().numpy() for batch in batches])

    truth = embed(dnabert_s(setting, torch.float64), [[window] for window in windows])
    rows: list[Found] = []
    for dtype, by in ((torch.float32, "auto"), (torch.float16, "auto"), (torch.float16, "flash")):
        try:
            model = dnabert_s(setting, dtype, by)
        except InputError as error:
            rows.append({"precision": _NAMES[dtype], "attention": by, "why not": str(error)})
            continue
        row = {"precision": _NAMES[dtype], "attention": model.attention}
        rows.append(_bounded(row, dtype, embed(model, [windows]), truth))
    return {"words": _worst(rows), "rows": rows}


def _bounded(
    row: Found, dtype: torch.dtype, found: npt.NDArray[np.float32], truth: npt.NDArray[np.float32]
) -> Found:
    """`row` with the worst distance. Raises `Wrong` beyond the bound, and for a row nearer to another's."""
    distance = two_digits(worst_distance(found, truth))
    what = ", ".join(map(str, row.values()))
    require(distance <= BOUNDS[dtype], f"{what}: {distance} away, more than {BOUNDS[dtype]}")
    nearest = [int(np.linalg.norm(truth - one, axis=1).argmin()) for one in found]
    require(nearest == list(range(len(truth))), f"{what}: a row is nearer to another's than to its own")
    return row | {"distance": distance}


def _worst(rows: list[Found]) -> str:
    said = {
        precision: max(row["distance"] for row in rows if row["precision"] == precision and "distance" in row)
        for precision in ("fp32", "fp16")
    }
    return ", ".join(f"{precision} {distance:.1e}" for precision, distance in said.items())


def no_wait(setting: Setting) -> Found:
    """A pass of either model, from page-locked memory and back, never stops the device."""
    setting.need_gpu("torch tells of waits on CUDA alone")
    passes: dict[str, Callable[[], Tensor]] = {}
    for dtype in (torch.float16, torch.float32):
        model = esm2(setting, setting.small, dtype)
        batch = packed(model, random_proteins(40)).pin_memory()
        windows = Packed.of_flat(np.full(1_000, 7), np.array([100] * 8 + [120, 80])).pin_memory()
        for name, run, given in (
            ("ESM-2", model, batch),
            ("DNABERT-S", dnabert_s(setting, dtype), windows),
        ):
            passes[f"{name} in {_NAMES[dtype]}"] = lambda run=run, given=given: run(
                given.to(setting.device, non_blocking=True)
            ).to("cpu", non_blocking=True)
    waits = {name: said for name, run in passes.items() if (said := _wait_in(run))}
    require(not waits, "; ".join(f"{name} waits: {said}" for name, said in waits.items()))
    return {"words": f"none in {', '.join(passes)}"}


@torch.inference_mode()
def _wait_in(run: Callable[[], Tensor]) -> str:
    """What torch says of the first wait in a run, after one that may wait."""
    run()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run()
    except RuntimeError as error:
        return str(error).splitlines()[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return ""
