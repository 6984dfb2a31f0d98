"""What the benchmarks share: models of the real shapes, proteins, the machine's name, interleaved rounds."""

import platform
import re
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from esm.model.esm2 import ESM2 as FairEsm2

from virnucpro.embedding.facts import StageFacts
from virnucpro.embedding.ranks import check
from virnucpro.models.esm2_weights import rotary_speeds
from virnucpro.models.weights import NoWeights
from virnucpro.pipeline.multi_gpu_inference import run_multi_gpu_inference
from virnucpro.pipeline.runtime_config import RuntimeConfig
from virnucpro.threads import allotted

# Layers, width, heads of the published ESM-2 models; thin3B has the widths of the largest and two layers.
SHAPES = {
    "tiny": (3, 32, 4),
    "t6_8M": (6, 320, 20),
    "t12_35M": (12, 480, 20),
    "t30_150M": (30, 640, 20),
    "t33_650M": (33, 1280, 20),
    "thin3B": (2, 2560, 40),
    "t36_3B": (36, 2560, 40),
}
# Dense half-precision products with float32 sums, TFLOP/s, as the data sheets have them, by a pattern
# of the name that CUDA gives a card; the first that fits.
DATA_SHEET = {
    "B200": 2250,
    "H100 PCIe": 756,
    "H100 NVL": 835,
    "H100": 989,
    "H200 NVL": 835,
    "H200": 989,
    "GH200": 989,
    "A100": 312,
    "A40": 150,
    "A30": 165,
    "A10": 125,
    "L40S": 362,
    "L40": 181,
    "L4": 121,
    "T4": 65,
    "V100-PCIE": 112,
    "V100-SXM2": 125,
    "RTX 6000 Ada": 364,
    "RTX A6000": 155,
    "RTX 5090$": 210,
    "RTX 4090$": 165,
    "RTX 3090$": 71,
}
RESIDUES = "LAGVESIKRDTPNQFYMHCW"
_PER_MILLE = (99, 83, 71, 69, 62, 66, 59, 58, 55, 55, 53, 47, 41, 39, 39, 29, 24, 23, 14, 11)
Seconds = list[tuple[float, float]]


def write_checkpoint(
    path: Path,
    shape: str,
    dtype: torch.dtype = torch.float32,
    device: torch.device = torch.device("cpu"),  # noqa: B008
) -> Path:
    """A fair-esm checkpoint of random weights, its heads left out, rotary speeds rounded as published ones
    are. Each weight is drawn on `device`."""
    layers, dim, heads = SHAPES[shape]
    with NoWeights():
        named = FairEsm2(layers, dim, heads, "ESM-1b", token_dropout=True).state_dict()
    random = torch.Generator(device).manual_seed(0)
    state = {}
    for name, value in named.items():
        if name.endswith("inv_freq"):
            state[name] = rotary_speeds(dim // heads)
        elif not name.startswith(("lm_head", "contact_head")):
            state[name] = random_weight(name, value.shape, random).to("cpu", dtype)
    sizes = Namespace(
        encoder_layers=layers, encoder_embed_dim=dim, encoder_attention_heads=heads, token_dropout=True
    )
    torch.save({"cfg": {"model": sizes}, "model": state}, path)
    return path


def random_weight(name: str, shape: torch.Size, random: torch.Generator) -> torch.Tensor:
    """Float32, spread as a fresh model's: norms near 1, embeddings of deviation 1, all else by its width."""
    spread = 3**0.5 if "embed" in name else shape[-1] ** -0.5
    drawn = torch.empty(shape, device=random.device).uniform_(-spread, spread, generator=random)
    return drawn.add_(1) if "norm" in name.lower() and name.endswith("weight") else drawn


def random_proteins(number: int, shortest: int = 60, longest: int = 170, seed: int = 1) -> list[str]:
    """Proteins of residues as frequent as in nature, lengths drawn evenly."""
    random = np.random.default_rng(seed)
    letters = np.frombuffer(RESIDUES.encode(), dtype=np.uint8)
    lengths = random.integers(shortest, longest + 1, number)
    frequencies = np.array(_PER_MILLE) / sum(_PER_MILLE)
    drawn = letters[random.choice(len(letters), int(lengths.sum()), p=frequencies)].tobytes().decode()
    ends = np.cumsum(lengths).tolist()
    return [drawn[end - length : end] for end, length in zip(ends, lengths.tolist(), strict=True)]


def write_fasta(path: Path, proteins: Sequence[str]) -> Path:
    """Proteins as FASTA, with ids as frames have them."""
    path.write_text("".join(f">seq{n}_chunk_1F1\n{protein}\n" for n, protein in enumerate(proteins)))
    return path


def product_flops(shape: str) -> int:
    """Floating-point operations a token in the model's matrix products, attention itself left out."""
    layers, dim, _ = SHAPES[shape]
    return 24 * layers * dim * dim


def attention_flops(shape: str, length: int) -> int:
    """The same a token of a sequence of `length` tokens, in scores and their use."""
    layers, dim, _ = SHAPES[shape]
    return 4 * layers * dim * length


def machine() -> str:
    """The processor or card, what torch is, and today's date."""
    cores = allotted()
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    card = f"{torch.cuda.get_device_name(0)}, " if torch.cuda.is_available() else ""
    processor = name or platform.processor() or platform.machine()
    return f"{card}{processor}, {cores} cores, torch {torch.__version__}, {date.today():%Y-%m-%d}"


def data_sheet_peak(card: str) -> int | None:
    """TFLOP/s by `DATA_SHEET`; None for a card that is not in it, or for a part of one."""
    fits = (peak for name, peak in DATA_SHEET.items() if re.search(rf"\b{name}\b", card))
    return None if "MIG" in card else next(fits, None)


def product_rate(
    device: torch.device, dtype: torch.dtype, sizes: tuple[int, int, int] | None = None
) -> float:
    """TFLOP/s of products of (rows, inner) by (inner, columns) alone; `sizes` in that order, by default
    square, as large as a card needs to show its best."""
    rows, inner, columns = sizes or ((8_192,) * 3 if device.type == "cuda" else (128,) * 3)
    x = torch.randn(rows, inner, device=device, dtype=dtype)
    weight = torch.randn(columns, inner, device=device, dtype=dtype)
    return 2 * rows * inner * columns / median_seconds(lambda: F.linear(x, weight), device) / 1e12


def median_seconds(run: Callable[[], object], device: torch.device) -> float:
    """Wall seconds of a run, the device's work included: the median of three to twenty, as many as go into
    two seconds (on a CPU, a tenth of one), after two that do not count."""

    def once() -> float:
        began = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    once()
    spend = 2.0 if device.type == "cuda" else 0.1
    number = min(max(int(spend / max(once(), 1e-6)), 3), 20)
    return float(np.median([once() for _ in range(number)]))


def interleaved(runs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Seconds]:
    """(wall, CPU) seconds of each run in each round; each runs once before, unmeasured. A round runs all, in
    an order that moves on by one from round to round."""
    names = list(runs)
    for name in names:
        runs[name]()
    seconds: dict[str, Seconds] = {name: [] for name in names}
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            wall, processor = time.perf_counter(), time.process_time()
            runs[name]()
            seconds[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return seconds


def ratio(base: Seconds, other: Seconds, which: int = 0) -> tuple[float, float, float]:
    """How many times faster `other` is: lowest, median, highest of the ratios within each round. `which`: 0
    for wall, 1 for CPU seconds."""
    ratios = sorted(a[which] / b[which] for a, b in zip(base, other, strict=True))
    return ratios[0], float(np.median(ratios)), ratios[-1]


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows as Markdown."""
    return "\n".join(line(cells) for cells in (header, ["---"] * len(header), *rows))


def line(cells: Sequence[object]) -> str:
    """A row of such a table."""
    return f"| {' | '.join(map(str, cells))} |"


def worst_distance(found: np.ndarray, truth: np.ndarray) -> float:
    """The largest relative L2 distance of a row."""
    return float((np.linalg.norm(found - truth, axis=1) / np.linalg.norm(truth, axis=1)).max())


def run_engine(fasta: Path, weights: Path, output: Path, ranks: int = 1, threads: int = 1) -> StageFacts:
    """ESM-2 v2.0 whole, in float32 on CPU ranks that share `threads`; `output` is the HDF5 file."""
    config = {
        "model_type": "esm2",
        "model_name": weights.stem,
        "weights": weights,
        "sha256": "0" * 64,  # not part of what is measured
        "device": "cpu",
    }
    told: list[StageFacts] = []
    _, failed = run_multi_gpu_inference(
        [fasta], output.parent, config, ranks, RuntimeConfig(threads=threads),
        outputs=[output], whole=told.append,
    )  # fmt: skip
    check(failed, ranks, "ESM-2 v2.0", output.parent / "logs")
    return told[0]


def embeddings(path: Path) -> npt.NDArray[np.float32]:
    """All rows of an `embeddings.h5`."""
    with h5py.File(path) as file:
        return np.asarray(file["embeddings"][:])
