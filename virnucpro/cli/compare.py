"""`virnucpro compare`: two runs side by side."""

from collections.abc import Sequence
from pathlib import Path

import click

FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("one", metavar="A", type=FOLDER)
@click.argument("other", metavar="B", type=FOLDER)
@click.option(
    "--show", type=click.IntRange(0), default=20, show_default=True, help="Names to print of each kind."
)
def compare(one: Path, other: Path, show: int) -> int:
    """Say how two runs differ: inputs, calls, scores, embeddings, models, options.

    A and B are output folders. Embeddings are compared where both runs kept theirs (--keep-intermediate).
    Exit code 0: the same sequences with the same calls; 1: not; 2: not comparable.
    """
    from virnucpro.calling.compare import NOTABLE, Run, compare_sample, differing_facts

    runs = Run.open(one), Run.open(other)
    for name, value, twin in differing_facts(*runs):
        click.echo(f"{name}: {value} | {twin}")
    same = True
    for sample in sorted({*runs[0].samples, *runs[1].samples}):
        missing = [
            str(path) for path, run in zip((one, other), runs, strict=True) if sample not in run.samples
        ]
        if missing:
            click.echo(f"{sample}: not in {missing[0]}")
            same = False
            continue
        found = compare_sample(sample, *runs)
        same = same and found.same
        click.echo(f"{sample}: {found.both} sequences in both, {len(found.calls)} with another call")
        _names([f"{id}: {call} | {twin}" for id, call, twin in found.calls], show)
        for ids, path in ((found.only_one, one), (found.only_other, other)):
            if ids:
                click.echo(f"{sample}: {len(ids)} sequences only in {path}")
                _names(ids, show)
        scores = found.scores
        click.echo(
            f"{sample}: {len(scores.values)} frames in both, {found.frames_in_one_run} in one alone; scores "
            f"differ by at most {scores.largest:.2g}, {scores.share_over(NOTABLE):.2%} by over {NOTABLE:g}"
        )
        _names([f"{scores.where}: {scores.largest:.2g}"] if scores.largest > NOTABLE else [], show)
        for encoder, distance in found.embeddings.items():
            click.echo(
                f"{sample}: {encoder} embeddings of {len(distance.values)} frames, relative L2 at most "
                f"{distance.largest:.2g} ({distance.where}), median {distance.median:.2g}"
            )
        if not found.embeddings:
            click.echo(f"{sample}: embeddings not compared, as not both runs kept theirs")
    return 0 if same else 1


def _names(lines: Sequence[str], show: int) -> None:
    for line in lines[:show]:
        click.echo(f"  {line}")
    if len(lines) > show:
        click.echo(f"  ... and {len(lines) - show} more")
