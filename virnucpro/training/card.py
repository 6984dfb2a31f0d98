"""The model card: what a trained model set is, what it saw, and how it does on what it did not see."""

from collections.abc import Sequence
from typing import Any

from virnucpro.training.evaluation import Row

HEADER = (
    "| class | length | fragments | scored | called viral, of scored | called viral, of all "
    "| AUROC, scored | AUROC, all |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
)


def results_table(rows: Sequence[Row]) -> str:
    """The evaluation as a Markdown table: recall for viral classes, false positive rate for the others."""
    return HEADER + "".join(
        f"| {row.kind}{' (viral)' if row.label else ''} | {row.length} | {row.fragments} "
        f"| {row.share_scored:.0%} | {_share(row.called_of_scored)} | {row.called_of_all:.0%} "
        f"| {_number(row.auroc_scored)} | {_number(row.auroc_all)} |\n"
        for row in rows
    )


def model_card(name: str, facts: dict[str, Any], rows: Sequence[Row]) -> str:
    """The card's text; `facts` is what the manifest holds under `training`."""
    data = "".join(
        f"| {item['class']} | {item['label']} | {item['file']} | `{item['sha256']}` |\n"
        for item in facts["data"]
    )
    splits = "".join(
        f"| {item['class']} | {item['split']} | {item['groups']} | {item['genomes']} | {item['bases']:,} "
        f"| {item['fragments']:,} | {item['frames']:,} |\n"
        for item in facts["splits"]
    )
    settings = "".join(f"- {key.replace('_', ' ')}: {value}\n" for key, value in facts["settings"].items())
    return f"""# Model set `{name}`

Made by `virnucpro train`; windows of {facts["settings"]["window_length"]} bases.
Encoders: {facts["encoders"]}.

## How well it does

Fragments were drawn at random from the genomes of the test split. No group of genomes (a family, a genome,
a scaffold; `splits.tsv` lists them) is in more than one split. A fragment is *scored* when at least one of
its windows has an open reading frame. *Called viral* is the recall of the viral classes and the false
positive rate of the others, by the pipeline's own rule; *of all* counts fragments without a score as not
viral. AUROC compares a class with all classes of the other label at the same length; *all* ranks fragments
without a score below every scored one.

{results_table(rows)}
## Data

| class | split | groups | genomes | bases | fragments with a frame | frames |
| --- | --- | ---: | ---: | ---: | ---: | ---: |
{splits}
| class | label | file | sha256 |
| --- | --- | --- | --- |
{data}
## Settings

{settings}"""


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
