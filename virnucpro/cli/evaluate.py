"""`virnucpro evaluate`: how true calls are, measured on labelled sequences."""

from pathlib import Path

import click

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("calls", nargs=-1, required=True, type=FILE)
@click.argument("labels", type=FILE)
@click.option("--output", "-o", required=True, type=FILE, help="Folder of the tables and figures.")
@click.option(
    "--controls",
    multiple=True,
    type=FILE,
    help="More labels, such as those of shuffled sequences from `virnucpro utils shuffle`; may be repeated.",
)
@click.option("--name", default="virnucpro", show_default=True, help="What to call the tool in the tables.")
@click.option(
    "--mix",
    type=click.Choice(["given", "even"]),
    default="given",
    show_default=True,
    help="Weights: every record the same, or both labels, and each class within its label.",
)
@click.option(
    "--cut-off", default=0.5, show_default=True, help="Lowest viral score of a table that has no calls."
)
@click.option(
    "--lengths",
    default="300,500,1000,3000",
    show_default=True,
    help="Bases at which a bin of length begins, separated by commas.",
)
@click.option("--resamples", default=500, show_default=True, type=click.IntRange(20), help="Bootstrap draws.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Draws them.")
@click.option("--figures", type=click.Choice(["svg", "png", "none"]), default="svg", show_default=True)
def evaluate(
    calls: tuple[Path, ...],
    labels: Path,
    output: Path,
    controls: tuple[Path, ...],
    name: str,
    mix: str,
    cut_off: float,
    lengths: str,
    resamples: int,
    seed: int,
    figures: str,
) -> None:
    """Measure CALLS against LABELS: precision, recall, F1, MCC, AUROC, AUPRC, with 95 % intervals.

    CALLS are <sample>_contigs.tsv of `predict`, or tables `id score [call]` of any other tool. LABELS is a
    FASTA of `virnucpro dataset build`, or a table `id label class group [length]`; label is virus, others
    or control. Needs the extra `train` (scikit-learn, matplotlib).

    Example: virnucpro evaluate results/test/test_contigs.tsv dataset/test.fa.gz -o evaluation
    """
    from virnucpro.errors import InputError
    from virnucpro.files import claim
    from virnucpro.training.accuracy import evaluate as evaluate_tool
    from virnucpro.training.accuracy import metrics
    from virnucpro.training.accuracy_figures import write_figures
    from virnucpro.training.accuracy_report import markdown, write_tables
    from virnucpro.training.labelled import join, open_frame_rule, read_calls, read_labels

    edges = _edges(lengths)
    metrics()  # before anything is read
    truth = read_labels(labels)
    for path in controls:
        more = read_labels(path)
        if twice := truth.keys() & more.keys():
            raise InputError(f"{path}: {min(twice)!r} has a label in another file too; each id needs one")
        truth |= more
    given = read_calls(calls, cut_off)
    tools = {name: given}
    if (baseline := open_frame_rule(truth, given)) is not None:
        tools["open frame = virus"] = baseline
    claim(output, "evaluation")
    evaluations = [
        evaluate_tool(
            tool, *join(truth, of_tool), resamples, seed, "even" if mix == "even" else "given", edges
        )
        for tool, of_tool in tools.items()
    ]
    write_tables(output, evaluations, edges)
    if figures != "none":
        write_figures(output, evaluations, edges, figures)
    click.echo(markdown(evaluations))


def _edges(text: str) -> list[int]:
    words = text.split(",")
    if not all(word.strip().isdecimal() for word in words):
        raise click.BadParameter(f"{text!r} is no list of whole numbers", param_hint="--lengths")
    edges = [int(word) for word in words]
    if edges != sorted(set(edges)) or edges[0] < 1:
        raise click.BadParameter(f"{text!r} does not rise from number to number", param_hint="--lengths")
    return edges
