"""The model card: what a trained model set is, what it saw, and how it does on what it did not see."""

import re
from collections.abc import Sequence
from typing import Any

from virnucpro.defaults import PRESET
from virnucpro.training.accuracy import Evaluation
from virnucpro.training.accuracy_report import markdown, table
from virnucpro.training.measure import BASELINE, BY_COMPOSITION, SET

DEMONSTRATION = """
**A demonstration set.** Its encoders had minutes of training on a CPU, in place of weeks on many GPUs, on a
few public genomes. It is not the published VirNucPro, and its calls are not for findings; how true they are
is measured below.
"""


def model_card(name: str, facts: dict[str, Any], measured: Sequence[Evaluation], demonstration: bool) -> str:
    """The card's text; `facts` is what the manifest holds under `training`."""
    counts = [
        [
            row["class"],
            row["split"],
            *(
                f"{row[key]:,}"
                for key in ("groups", "genomes", "bases", "windows", "windows_with_open_frame")
            ),
        ]
        for row in facts["dataset"]["counts"]
    ]
    header = ["class", "split", "groups", "records", "bases", "fragments", "with an open frame"]
    files = facts["dataset"]["inputs"]["files"]
    sources = table(
        ["class", "label", "file", "sha256"],
        [[item["class"], item["label"], item["file"], item["sha256"]] for item in files],
    )
    missing = [
        row["class"] for row in facts["dataset"]["counts"] if row["split"] == "test" and not row["windows"]
    ]
    untested = f"Trained on and not tested: {', '.join(missing)}." if missing else "All are tested."
    return f"""# Model set `{name}`
{DEMONSTRATION if demonstration else ""}
Made by `virnucpro train set`; windows of {facts["settings"]["window_length"]} bases.
Encoders: {facts["encoders"]}.
A contig's score comes from the composition of all its windows and the frame scores of those with an open
frame. Its calibration was fitted on fragments of training and validation genomes, each scored by the one net
of the composition model that has not seen its group; frame scores count by validation alone, half way.

## What is compared

- *{SET}*: its score and its call, preset `{PRESET}`.
- *{BY_COMPOSITION}*: without frame scores, with a calibration and cut-offs of its own.
- *{BASELINE}*: no model at all; a fragment with an open frame in any window counts as viral.

Fragments were drawn at random from the genomes of the test split. No group of genomes (a family, a genus, a
genome; `splits.tsv` lists them) is in more than one split. Labels are those of the genome: a piece of a
bacterium may lie in a prophage.

{_demoted(markdown(measured))}
## What it was trained on

{table(header, counts)}

{untested} There are many more kinds of life than these; how it does on another kind is not known.

{sources}

## Settings

{_list(facts["settings"])}
Dataset (`virnucpro dataset build`):

{_list(facts["dataset"]["settings"])}
`training_curves.png` shows the losses, the manifest has them as numbers.
"""


def _demoted(text: str) -> str:
    return re.sub("^#", "##", text, flags=re.MULTILINE)


def _list(settings: dict[str, Any]) -> str:
    return "".join(f"- {key.replace('_', ' ')}: {value}\n" for key, value in settings.items())
