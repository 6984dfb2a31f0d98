"""Windows a second on one core: features, then the nets. Of random sequences, by CPU time.

OMP_NUM_THREADS=1 python -m benchmarks.composition [--model composition.safetensors]
"""

import argparse
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from virnucpro.models.composition import BATCH, CompositionModel, load_composition, shapes
from virnucpro.sequences.composition import features

ROUNDS = 5  # the best of which counts


def main() -> None:
    """Print one line for each length."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", type=Path, help="default: random nets of the shape of mini's")
    options.add_argument("--windows", type=int, default=4096)
    given = options.parse_args()
    model = load_composition(given.model) if given.model else random_model()
    for length in (300, 500, 1000):
        print(f"{length} bases, windows a second: {speeds(model, length, given.windows)}")


def speeds(model: CompositionModel, length: int, count: int) -> str:
    """Of features, of nets, of both."""
    draw = random.Random(1)
    windows = ["".join(draw.choices("ACGT", k=length)) for _ in range(count)]
    batches = [windows[start : start + BATCH] for start in range(0, count, BATCH)]
    x = features(batches[0])
    made = per_second(lambda: [features(batch) for batch in batches], count)
    nets = per_second(lambda: [model.class_log_probabilities(x) for _ in batches], count)
    both = per_second(lambda: model.log_odds(windows), count)
    return f"features {made:,.0f}, nets {nets:,.0f}, both {both:,.0f}"


def per_second(work: Callable[[], object], windows: int) -> float:
    """Windows a second of CPU time, in the best round."""
    seconds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return windows / min(seconds)


def random_model() -> CompositionModel:
    """Nets with the sizes of mini's, and weights that mean nothing."""
    rng = np.random.default_rng(1)
    tensors = {
        name: rng.normal(0, 0.05, shape).astype(np.float32) for name, shape in shapes(4, 128, 10).items()
    }
    tensors["scale"] = np.abs(tensors["scale"]) + 1
    return CompositionModel({str(n): n % 2 for n in range(10)}, tensors)


if __name__ == "__main__":
    main()
