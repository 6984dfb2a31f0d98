"""Print what .pt and .h5 files hold, as JSON for the module tests: ids, shape, how two files differ.

contents.py FILE [OTHER]
"""

import json
import sys
from pathlib import Path
from typing import Any

import h5py
import torch


def load(path: Path) -> tuple[list[str], torch.Tensor]:
    """Ids and their float rows, whichever of our formats the file has."""
    if path.suffix == ".h5":
        with h5py.File(path) as store:
            return list(store["sequence_ids"].asstr()[:]), torch.from_numpy(store["embeddings"][:])
    content: dict[str, Any] = torch.load(path, weights_only=True)
    if "nucleotide" in content:
        rows = {row["label"]: row["mean_representation"] for row in content["data"]}
        ids = content["nucleotide"]
        return ids, torch.tensor([rows[name] for name in ids])
    ids = content["proteins"] if "proteins" in content else content["ids"]
    data = content["data"]
    return ids, data if torch.is_tensor(data) else torch.stack(data)


def main() -> None:
    ids, rows = load(Path(sys.argv[1]))
    facts: dict[str, Any] = {
        "ids": ids,
        "shape": list(rows.shape),
        "finite": bool(rows.isfinite().all()),
        "distinct": len({tuple(row) for row in rows.tolist()}),
        "dtype": str(rows.dtype),
    }
    if len(sys.argv) > 2:
        other_ids, other = load(Path(sys.argv[2]))
        order = [other_ids.index(name) for name in ids]
        facts["difference"] = float((rows - other[order]).abs().max())
    print(json.dumps(facts))


main()
