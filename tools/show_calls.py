"""Print the calls below a results folder, and where its report is."""

import csv
import sys
from pathlib import Path

COLUMNS = ("sequence_id", "length", "status", "windows", "viral_windows", "virus_score", "call")


def main(outdir: Path) -> None:
    for table in sorted(outdir.glob("*/*_contigs.tsv")):
        with table.open(encoding="utf-8", newline="\n") as handle:
            contigs = csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE)
            rows = [COLUMNS, *([contig[name] for name in COLUMNS] for contig in contigs)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        print(f"\n{table}")
        for row in rows:
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            print(f"  {line.rstrip()}")
    print(f"\nReport: {outdir / 'report.html'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
