"""Which device, which precision: asked for by name, never replaced in silence."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from virnucpro.errors import InputError

# nvidia-smi's order; CUDA's own is the fastest card first. It is read when CUDA is first used.
os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")

_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True, slots=True)
class Compute:
    """What a step runs on: `device` `cuda` or `cpu`, `precision` `fp16`, `bf16` or `fp32`."""

    device: str
    precision: str

    @property
    def dtype(self) -> torch.dtype:
        return _DTYPES[self.precision]

    @property
    def torch_device(self) -> torch.device:
        return torch.device(self.device)

    def describe(self) -> str:
        """For a log line: `cpu, fp32`."""
        return f"{self.device}, {self.precision}"

    @property
    def device_name(self) -> str:
        """The card's name, or `CPU`."""
        return torch.cuda.get_device_name(0) if self.device == "cuda" else "CPU"


def choose(
    device: str, precision: str, half_on_gpu: bool = False, allowed: Sequence[str] = tuple(_DTYPES)
) -> Compute:
    """Settle `auto`: a GPU when one is visible; fp32, or fp16 on GPU where `half_on_gpu` (ESM-2 v2.0).

    `allowed`: the precisions of the model set. Raises `InputError` for another one, and for `cuda` without a
    visible GPU.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("a GPU was asked for, but none is visible; see nvidia-smi and CUDA_VISIBLE_DEVICES")
    if precision == "auto":
        precision = "fp16" if half_on_gpu and device == "cuda" and "fp16" in allowed else "fp32"
    if precision not in allowed:
        raise InputError(f"--precision {precision}: this model set allows {', '.join(allowed)}")
    return Compute(device, precision)


def visible_gpus() -> list[str]:
    """Ids (numbers or UUIDs) of the GPUs this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return [str(number) for number in range(torch.cuda.device_count())]
    return [id.strip() for id in listed.split(",") if id.strip()]


def select_gpus(wanted: str) -> list[str]:
    """The ids in a comma-separated list, each of which must be visible. Raises `InputError`."""
    visible = visible_gpus()
    ids = [id.strip() for id in wanted.split(",") if id.strip()]
    missing = [id for id in ids if id not in visible]
    if missing or not ids or len(set(ids)) < len(ids):
        wrong = f"no GPU {', '.join(missing)} here" if missing else "not a list of different ids"
        there = f"visible GPUs: {', '.join(visible)}" if visible else "no GPU is visible"
        raise InputError(f"--gpus {wanted}: {wrong}; {there}")
    return ids


def first_gpus(world_size: int) -> list[str]:
    """The first `world_size` visible ids. Raises `InputError` when there are fewer."""
    visible = visible_gpus()
    if world_size > len(visible):
        raise InputError(
            f"{world_size} GPUs were asked for, {len(visible)} are visible: {', '.join(visible)}"
        )
    return visible[:world_size]
