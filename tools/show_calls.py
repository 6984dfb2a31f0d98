"""Print the calls below a results folder, and where its report is."""

import csv
import sys
from collections import Counter
from pathlib import Path

COLUMNS = ("sequence_id", "length", "status", "windows", "viral_windows", "virus_score", "call")
SHOWN = 20


def main(outdir: Path) -> None:
    for table in sorted(outdir.glob("*/*_contigs.tsv")):
        with table.open(encoding="utf-8", newline="\n") as handle:
            contigs = list(csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE))
        rows = [COLUMNS, *([contig[name] for name in COLUMNS] for contig in contigs[:SHOWN])]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        print(f"\n{table}")
        for row in rows:
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            print(f"  {line.rstrip()}")
        if len(contigs) > SHOWN:
            print(f"  ... and {len(contigs) - SHOWN} more")
        calls = Counter(contig["call"] for contig in contigs)
        print(f"{len(contigs)} sequences: {', '.join(f'{n} {call}' for call, n in calls.most_common())}")
    print(f"\nReport: {outdir / 'report.html'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
