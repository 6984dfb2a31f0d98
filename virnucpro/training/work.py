"""Where an unfinished training keeps what it has, so that it can go on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from virnucpro.errors import InputError
from virnucpro.files import claim, mark, remove_own

TRAINING = "unfinished training"  # what the mark says


def work_folder(output: Path) -> Path:
    """Beside the output, so that a full disk shows at once."""
    return output.with_name(f".{output.name}.training")


def begin(output: Path, facts: Mapping[str, Any], resume: bool) -> Path:
    """The folder to work in: with `resume` as a killed training left it, else empty.

    `facts` is all that decides what comes out. Raises `InputError` where what is there was begun with others,
    and where the folder is not ours.
    """
    folder = work_folder(output)
    said = mark(folder)
    if said.get("virnucpro") == TRAINING:
        if not resume:
            remove_own(folder, TRAINING)
        elif (begun := said.get("facts")) != json.loads(json.dumps(facts)):
            differs = next((key for key in facts if not begun or begun.get(key) != facts[key]), "data")
            raise InputError(f"{folder}: was begun with another {differs}; leave out --resume to begin anew")
    claim(folder, TRAINING, facts=facts)
    return folder


def end(output: Path) -> None:
    """Remove the folder once the output is whole."""
    remove_own(work_folder(output), TRAINING)
