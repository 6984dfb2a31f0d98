"""What the device is, and how fast its matrix products and its memory are."""

import importlib.metadata
from functools import cache

import torch

from benchmarks.common import SHAPES, data_sheet_peak, machine, median_seconds, product_rate
from benchmarks.gpu_check.setting import Found, Setting


@torch.inference_mode()
def describe(setting: Setting) -> Found:
    """The card, the rates of its products alone, and of its memory."""
    found: Found = {
        "machine": machine(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "flash-attn": _version("flash-attn"),
    }
    if setting.on_gpu:
        card = torch.cuda.get_device_properties(setting.device)
        found |= {
            "capability": f"{card.major}.{card.minor}",
            "GiB": round(card.total_memory / 2**30, 1),
            "cards": torch.cuda.device_count(),
            "data sheet TFLOP/s": data_sheet_peak(card.name),
        }
    copied = torch.empty(2**29 if setting.full else 2**20, dtype=torch.uint8, device=setting.device)
    found["memory GB/s"] = round(2 * copied.nbytes / median_seconds(copied.clone, setting.device) / 1e9, 1)
    found["rows"] = [
        {"product": name, "TFLOP/s": float(f"{speed:.4g}")} for name, speed in rates(setting).items()
    ]
    return found | {"words": f"fp16 products at {peak(setting):.3g} TFLOP/s at best"}


@cache
def rates(setting: Setting) -> dict[str, float]:
    """TFLOP/s of products alone: square ones in each precision (tf32 is fp32 on a CPU), and the four of an
    ESM-2 layer in fp16. Measured once."""
    device = setting.device
    found = {"fp32": product_rate(device, torch.float32)}
    torch.set_float32_matmul_precision("high")
    try:
        found["tf32"] = product_rate(device, torch.float32)
    finally:
        torch.set_float32_matmul_precision("highest")
    found["fp16"] = product_rate(device, torch.float16)
    if torch.bfloat16 in setting.precisions:
        found["bf16"] = product_rate(device, torch.bfloat16)
    _, dim, _ = SHAPES[setting.shape]
    tokens = 16_384 if setting.full else 128
    for inner, columns in ((dim, 3 * dim), (dim, dim), (dim, 4 * dim), (4 * dim, dim)):
        name = f"fp16, {tokens} x {inner} by {inner} x {columns}"
        found[name] = product_rate(device, torch.float16, (tokens, inner, columns))
    return found


def peak(setting: Setting, precision: str = "fp16") -> float:
    """The fastest of `rates` in a precision."""
    return max(speed for name, speed in rates(setting).items() if name.startswith(precision))


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
