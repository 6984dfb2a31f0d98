"""How near every back end comes to fair-esm, one sequence at a time.

    python -m benchmarks.fidelity [--device cpu] [--shapes t6_8M t12_35M t30_150M] [--number 1000]

Proteins of 223 lengths from 1 to 1,022 residues, the denser the shorter; random weights of the real shapes.
Each back end embeds them in packs of eight with all lengths mixed, each alone, and one pack first and as the
tenth. Prints the worst relative L2 distance to fair-esm in fp32, the distance of the first to the tenth,
whether the nearest of fair-esm's rows is always the protein's own, and whether other proteins of the same
lengths beside it leave a row as it is to the last bit.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.common import SHAPES, machine, random_proteins, table, worst_distance, write_checkpoint
from virnucpro.defaults import ATTENTION
from virnucpro.embedding.device import Compute
from virnucpro.embedding.esm2_v1 import load_fair_esm
from virnucpro.errors import InputError
from virnucpro.models.attention import Packed
from virnucpro.models.esm2 import ESM2, load_esm2

Vectors = npt.NDArray[np.float32]
MIXED = 8  # neighbours in a mixed pack


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    on_gpu = torch.cuda.is_available()
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if on_gpu else "cpu")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["t6_8M", "t12_35M", "t30_150M"])
    parser.add_argument("--number", type=int, default=1000)
    options = parser.parse_args()
    print(f"{machine()}; {options.number} proteins of 1 to 1,022 residues\n")
    proteins = mixed_proteins(options.number)
    rows = []
    for shape in options.shapes:
        with tempfile.TemporaryDirectory() as name:
            weights = write_checkpoint(Path(name) / "esm2.pt", shape)
            truth = fair_esm_alone(weights, proteins, Compute(options.device, "fp32"))
            for precision in ("fp32", "fp16") if options.device == "cuda" else ("fp32",):
                compute = Compute(options.device, precision)
                for attention in ATTENTION[1:]:
                    try:
                        model = load_esm2(weights, compute.torch_device, compute.dtype, attention)
                    except InputError:
                        continue  # not on this device or in this precision
                    rows.append([shape, precision, attention, *_measure(model, proteins, truth, compute)])
    header = ["shape", "precision", "attention", "mixed", "alone", "first to tenth"]
    print(table([*header, "nearest is itself", "neighbours change nothing"], rows))


def mixed_proteins(number: int) -> list[str]:
    """Lengths from 1 to 1,022, the denser the shorter, in no order."""
    lengths = np.unique(np.geomspace(1, 1022, 400).round().astype(int))
    long = random_proteins(number, 1022, 1022, seed=3)
    mixed = np.random.default_rng(4).permutation(np.resize(lengths, number))
    return [protein[:length] for protein, length in zip(long, mixed, strict=True)]


@torch.inference_mode()
def fair_esm_alone(weights: Path, proteins: list[str], compute: Compute) -> Vectors:
    model = load_fair_esm(weights, compute)
    converter, layer = model.alphabet.get_batch_converter(), model.num_layers
    vectors = np.empty((len(proteins), model.embed_dim), dtype=np.float32)
    for row, protein in enumerate(proteins):
        tokens = converter([("", protein)])[2].to(compute.torch_device)
        states = model(tokens, repr_layers=[layer])["representations"][layer]
        vectors[row] = states[0, 1 : len(protein) + 1].float().mean(0).cpu().numpy()
    return vectors


@torch.inference_mode()
def _measure(model: ESM2, proteins: list[str], truth: Vectors, compute: Compute) -> list[str]:
    def embed(chosen: list[str]) -> Vectors:
        tokens = model.tokenize_flat([protein.encode() for protein in chosen])
        return model(Packed.of_flat(*tokens).to(compute.torch_device)).cpu().numpy()

    def in_batches(batches: list[npt.NDArray[np.int64]]) -> Vectors:
        vectors = np.empty_like(truth)
        for rows in batches:
            vectors[rows] = embed([proteins[row] for row in rows])
        return vectors

    order = np.arange(len(proteins))
    mixed = in_batches(np.array_split(order, -(-len(order) // MIXED)))
    alone = in_batches(list(order[:, None]))
    some = proteins[:MIXED]
    first = embed(some)
    for start in range(1, 9):
        embed(proteins[start * MIXED : (start + 1) * MIXED] or some)
    tenth = embed(some)
    others = [protein[::-1] for protein in some]
    beside = [embed([*others[:row], some[row], *others[row + 1 :]])[row] for row in range(len(some))]
    nearest = [proteins[int(np.linalg.norm(truth - row, axis=1).argmin())] for row in mixed]
    return [
        *(f"{worst_distance(found, truth):.1e}" for found in (mixed, alone)),
        f"{worst_distance(tenth, first):.0e}",
        "yes" if nearest == proteins else "NO",
        "yes" if np.array_equal(np.stack(beside), first) else "NO",
    ]


if __name__ == "__main__":
    main()
