"""Tokens a second and shares of the peak, of both models; where the time goes."""

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.common import attention_flops, data_sheet_peak, median_seconds, product_flops
from benchmarks.gpu_check.machine import peak
from benchmarks.gpu_check.setting import Found, Setting, alike, require
from benchmarks.gpu_check.weights import dnabert_config, dnabert_s, esm2
from virnucpro.errors import InputError
from virnucpro.models.attention import Packed
from virnucpro.models.dnabert_s import DnabertS
from virnucpro.models.esm2 import ESM2

RESIDUES = (50, 170)
KERNELS = 14


@torch.inference_mode()
def esm2_speed(setting: Setting) -> Found:
    """ESM-2 in half precision on full batches of proteins of one length."""
    model = esm2(setting, setting.shape)
    rows: list[Found] = []
    for residues in RESIDUES:
        operations = product_flops(setting.shape) + attention_flops(setting.shape, residues + 2)
        for budget in setting.budgets:
            batch = alike(model, residues, budget).to(setting.device)
            row = {"residues": residues, "tokens": budget}
            try:
                rows.append(row | _rate(setting, model, batch, operations))
            except torch.OutOfMemoryError:
                rows.append(row | {"k tokens/s": "out of memory"})
    ran = [row for row in rows if "TFLOP/s" in row]
    require(bool(ran), "no batch fits into the card's memory")
    best = max(ran, key=lambda row: row["TFLOP/s"])
    return {
        "words": f"{setting.shape}: {best['k tokens/s']} k tokens/s, {best['of measured peak']} of the peak",
        "attention": model.attention,
        "rows": rows,
    }


@torch.inference_mode()
def dnabert_s_speed(setting: Setting) -> Found:
    """DNABERT-S in fp32 and fp16, in flash-attn too where it runs, on full batches of windows of 100 tokens,
    about 500 bases."""
    config = dnabert_config(setting)
    d, inner = config.hidden_size, config.intermediate_size
    operations = config.num_hidden_layers * (8 * d * d + 6 * d * inner + 4 * d * 100)
    rows: list[Found] = []
    for precision, dtype, by in (
        ("fp32", torch.float32, "auto"),
        ("fp16", torch.float16, "auto"),
        ("fp16", torch.float16, "flash"),
    ):
        try:
            model = dnabert_s(setting, dtype, by)
        except InputError:
            continue  # `dnabert_s_exact` says why
        for budget in setting.budgets:
            windows = budget // 100
            tokens = torch.randint(config.vocab_size, (windows * 100,))
            batch = Packed.of([part.tolist() for part in tokens.split(100)], setting.device)
            row = {"precision": precision, "attention": model.attention, "tokens": budget}
            rows.append(row | _rate(setting, model, batch, operations, precision))
    best = {row["precision"]: row["k tokens/s"] for row in sorted(rows, key=lambda row: row["TFLOP/s"])}
    return {"words": ", ".join(f"{name} {speed} k tokens/s" for name, speed in best.items()), "rows": rows}


def _rate(
    setting: Setting, model: ESM2 | DnabertS, batch: Packed, operations: int, precision: str = "fp16"
) -> Found:
    """The speed of passes over a batch as columns: `operations` a token, as a share of what products alone
    reach here and, in half precision on a card that is listed, of its data sheet; memory on a GPU."""
    measured = peak(setting, precision)
    if setting.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    tokens_a_second = len(batch.tokens) / median_seconds(lambda: model(batch), setting.device)
    reached = tokens_a_second * operations / 1e12
    found: Found = {
        "k tokens/s": round(tokens_a_second / 1e3, 2),
        "TFLOP/s": float(f"{reached:.4g}"),
        "of measured peak": f"{reached / measured:.1%}",
    }
    if setting.on_gpu:
        listed = data_sheet_peak(torch.cuda.get_device_name())
        found["of data sheet"] = f"{reached / listed:.1%}" if listed and precision == "fp16" else None
        found["GiB at most"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    return found


@torch.inference_mode()
def kernels(setting: Setting) -> Found:
    """Which kernels (on a CPU: operations) one pass of ESM-2 spends its time in."""
    model = esm2(setting, setting.shape)
    batch = alike(model, RESIDUES[0], setting.budgets[len(setting.budgets) // 2]).to(setting.device)
    model(batch)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if setting.on_gpu else [])]
    with profile(activities=activities, acc_events=True) as profiled:
        model(batch)
        if setting.on_gpu:
            torch.cuda.synchronize()
    spent = {
        (row.key, row.count): row.self_device_time_total if setting.on_gpu else row.self_cpu_time_total
        for row in profiled.key_averages()
        if (row.device_type == DeviceType.CUDA) == setting.on_gpu
    }
    whole = sum(spent.values())
    require(whole > 0, "the profiler saw nothing")
    longest = sorted(spent.items(), key=lambda item: -item[1])[:KERNELS]
    rows = [
        {"kernel": name[:80], "calls": calls, "ms": round(time / 1e3, 3), "share": f"{time / whole:.1%}"}
        for (name, calls), time in longest
    ]
    calls = sum(calls for _, calls in spent)
    return {"words": f"{calls} in {whole / 1e3:.2f} ms; most: {rows[0]['kernel'][:40]}", "rows": rows}
