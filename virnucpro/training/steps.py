"""Parts of a model set by themselves, for whoever wants no more: a composition model, a pair of encoders."""

import shutil
from dataclasses import asdict
from pathlib import Path

from virnucpro import __version__
from virnucpro.errors import InputError
from virnucpro.files import atomic
from virnucpro.models.checksums import file_sha256
from virnucpro.threads import limit
from virnucpro.training.curves import draw_curves
from virnucpro.training.dataset import MANIFEST, read_windows
from virnucpro.training.epochs import Log
from virnucpro.training.make_composition import make_composition
from virnucpro.training.make_encoders import VALIDATION_SHARE, make_encoders
from virnucpro.training.part import Part
from virnucpro.training.settings import Settings
from virnucpro.training.work import begin, end


def composition_file(dataset: Path, output: Path, settings: Settings, resume: bool, log: Log) -> None:
    """Train the composition model on all of a dataset but its test, and write the file `output`."""
    if output.suffix != ".safetensors":
        raise InputError(f"{output}: the name must end in .safetensors")
    work = _begin(dataset, output, settings, resume)
    training = read_windows(dataset, "train") + read_windows(dataset, "validation")
    make_composition(work, training, settings)
    log(f"composition: {len(training)} fragments learned")
    with atomic(output) as partial:
        shutil.copyfile(work / "composition.safetensors", partial)
    end(output)


def encoders_folder(dataset: Path, output: Path, settings: Settings, resume: bool, log: Log) -> None:
    """Train small encoders on a dataset folder and write both into the folder `output`, with their curves."""
    work = _begin(dataset, output, settings, resume)
    training = Part.read(dataset, "train", settings.window_length).at_most(settings.frames, settings.seed)
    validation = Part.read(dataset, "validation", settings.window_length)
    validation = validation.at_most(settings.frames // VALIDATION_SHARE, settings.seed)
    (dnabert_s, esm2), history = make_encoders(
        work, training.labelled(), validation.labelled(), settings, log
    )
    draw_curves(history, [], work / "training_curves.png")
    with atomic(output) as partial:
        partial.mkdir()
        shutil.copytree(dnabert_s, partial / "dnabert_s")
        for file in (esm2, work / "training_curves.png"):
            shutil.copyfile(file, partial / file.name)
    end(output)


def _begin(dataset: Path, output: Path, settings: Settings, resume: bool) -> Path:
    if output.exists():
        raise InputError(f"{output}: exists already; choose another name or remove it")
    limit(settings.threads)
    decisive = {
        "settings": asdict(settings),
        "dataset": file_sha256(dataset / MANIFEST),
        "virnucpro": __version__,
    }
    return begin(output, decisive, resume)
