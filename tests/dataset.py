"""A small dataset of made-up sequences, as `virnucpro dataset build` makes one of real ones."""

import gzip
import json
import random
from pathlib import Path

CODONS = {
    "RNA virus": ["ATT", "AAA", "GAT", "TCA", "AAT", "CAA", "TTA"],
    # CTA closes the reverse and shifted frames.
    "bacteria": ["GCC", "CTG", "GGC", "CTA", "GTG", "CCG", "GCC"],
}
LABEL_OF = {"RNA virus": "virus", "bacteria": "others"}
COUNTS = {"train": 40, "validation": 30, "test": 12}  # fragments of each class


def write_dataset(folder: Path) -> Path:
    """Write the folder's files: viral and bacterial fragments of 330 to 990 bases, easy to tell apart."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(1)
    rows = []
    for split, count in COUNTS.items():
        records = []
        for kind, codons in CODONS.items():
            for number in range(count):
                dna = "".join(draw.choices(codons, k=draw.choice([110, 166, 330])))
                facts = f"label={LABEL_OF[kind]}\tclass={kind}\tgroup={split}{number % 4}"
                name = f"{kind[:3]}{split}{number}:1-{len(dna)}\t{facts}"
                records.append((name, dna))
            rows.append(
                {"class": kind, "split": split, "groups": 4, "genomes": 4, "bases": 9, "windows": count}
                | {"windows_with_open_frame": count}
            )
        with gzip.open(folder / f"{split}.fa.gz", "wt") as file:
            file.writelines(f">{header}\n{dna}\n" for header, dna in records)
    files = [{"class": kind, "label": "virus", "file": f"{kind}.fa", "sha256": "0" * 64} for kind in CODONS]
    manifest = {"settings": {"lengths": "300-1000"}, "counts": rows, "inputs": {"files": files}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "genomes.tsv").write_text("record\tclass\tlabel\tgroup\tsplit\tbases\n")
    return folder
