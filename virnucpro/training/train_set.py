"""The whole way from a dataset to a model set: `train_set`."""

import csv
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from virnucpro import __version__
from virnucpro.errors import InputError
from virnucpro.files import atomic
from virnucpro.models.assemble import ANY_PRECISION, assemble_model_set
from virnucpro.models.checksums import file_sha256
from virnucpro.models.classifier import save_classifier, scores
from virnucpro.models.model_set import ModelSet, is_set_alone
from virnucpro.threads import limit
from virnucpro.training.accuracy import Evaluation
from virnucpro.training.calibrate import fit_calibration
from virnucpro.training.card import model_card
from virnucpro.training.curves import draw_curves
from virnucpro.training.data import SPLITS
from virnucpro.training.dataset import GENOMES, MANIFEST, read_manifest
from virnucpro.training.encoders import Encoders, load_encoders
from virnucpro.training.epochs import Epoch, Log
from virnucpro.training.fit import fit
from virnucpro.training.frames import Cut, read_features
from virnucpro.training.make_composition import make_composition
from virnucpro.training.make_encoders import VALIDATION_SHARE, make_encoders
from virnucpro.training.measure import evidence, facts, log_gain, measure, scored
from virnucpro.training.part import Part
from virnucpro.training.settings import Settings
from virnucpro.training.work import begin, end

CARD, CURVES, GROUPS = "MODEL_CARD.md", "training_curves.png", "splits.tsv"
NONE = np.zeros(0, dtype=np.int64)
CHUNK = 20_000  # frames whose features are kept as soon as they are there

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Inputs:
    """`dataset`: the folder; `base`: a model set whose encoders are used as they are, None for small new
    ones; `features`: a folder with `train`, `validation` and `test`, each of `output_N_merged.pt` files that
    a run with `base` has made of the dataset, None to make them here."""

    dataset: Path
    base: str | None = None
    features: Path | None = None


def train_set(
    inputs: Inputs,
    output: Path,
    settings: Settings,
    log: Log,
    resume: bool = False,
    replace: bool = False,
    demonstration: bool = False,
) -> list[Evaluation]:
    """Train on a dataset, calibrate on what was not trained on, measure on its test fragments, and write the
    model set `output`. Returns what was measured.

    Encoders and classifier are trained on `train` and chosen by `validation`. The nets of the composition
    model see both, each without one fold of the groups; what the net says that has not seen a group is what
    calibration goes by.

    With `resume`, goes on where a killed training of the same inputs stopped. The same inputs, settings and
    machine give the same bytes. Raises `InputError` when the inputs or `output` do not allow it.
    """
    if output.exists() and not (replace and is_set_alone(output, output.name)):
        raise InputError(f"{output}: exists already; choose another folder or remove it")
    limit(settings.threads)
    built = read_manifest(inputs.dataset)
    base = None if inputs.base is None else ModelSet.open(inputs.base)
    work = begin(output, _decisive(inputs, base, settings), resume)
    parts = {split: Part.read(inputs.dataset, split, settings.window_length) for split in SPLITS}
    parts["train"] = parts["train"].at_most(settings.frames, settings.seed)
    training, validation, test = (parts[split] for split in SPLITS)
    composition = make_composition(work, training.fragments + validation.fragments, settings)
    encoders, history = _encoders(work / "encoders", base, training, validation, settings, log)
    if inputs.features is None:
        loaded = load_encoders(*encoders, settings.device, base.precision if base else ("fp32",))
        found = {
            split: _embedded(work / f"features_{split}", part.cut, loaded, log)
            for split, part in parts.items()
        }
    else:
        found = {
            split: read_features(sorted((inputs.features / split).glob("output_*_merged.pt")), part.cut.ids)
            for split, part in parts.items()
        }
    classifier, of_classifier = fit(
        training.examples(found["train"]),
        validation.examples(found["validation"]),
        settings.seed,
        device=torch.device(settings.device),
        state=work / "classifier.pt",
        log=log,
    )
    history = [*history, *of_classifier]
    log("calibrating on validation, measuring on test")
    of_training, of_validation = composition.held_out(training.cut, validation.cut)
    framed, to_measure = (
        evidence(part.fragments, part.cut, log_odds, scores(classifier, features))
        for part, log_odds, features in (
            (validation, of_validation, found["validation"]),
            (test, composition.model.log_odds(test.cut.bases), found["test"]),
        )
    )
    to_calibrate = scored(validation.fragments, framed)
    bare = evidence(training.fragments, training.cut.only(NONE), of_training, np.zeros((0, 2), np.float32))
    of_all = scored(training.fragments, bare).of_kinds(to_calibrate.kind) + to_calibrate
    calibration = fit_calibration(of_all, to_calibrate)
    without_frames = fit_calibration(of_all)
    chosen_by, measured = (
        measure(part.fragments, found, calibration, without_frames, settings.seed)
        for part, found in ((validation, framed), (test, to_measure))
    )
    log_gain(chosen_by, log)

    save_classifier(work / "classifier.safetensors", classifier)
    calibration.write(work / "calibration.json")
    draw_curves(history, composition.losses, work / CURVES)
    _write_groups(inputs.dataset / GENOMES, work / GROUPS)
    about = {
        "virnucpro": __version__,
        "torch": torch.__version__,
        "settings": asdict(settings),
        "encoders": f"of {base.name}, frozen" if base else "small, made with the set",
        "dataset": {key: built[key] for key in ("settings", "counts", "inputs")},
        "epochs": [asdict(epoch) for epoch in history],
        "composition_losses": composition.losses,
        "validation": facts(chosen_by),
        "test": facts(measured),
    }
    with atomic(work / CARD) as partial:
        partial.write_text(model_card(output.name, about, measured, demonstration), encoding="utf-8")
    assemble_model_set(
        output,
        name=output.name,
        dnabert_s=encoders[0],
        esm2=encoders[1],
        classifier=work / "classifier.safetensors",
        composition=work / "composition.safetensors",
        calibration=work / "calibration.json",
        window_length=settings.window_length,
        precision=base.precision if base else ANY_PRECISION,
        score_all=True,
        demonstration=demonstration,
        about={"training": about},
        beside=[work / CARD, work / CURVES, work / GROUPS],
        replace=replace,
    )
    end(output)
    return measured


def _decisive(inputs: Inputs, base: ModelSet | None, settings: Settings) -> dict[str, Any]:
    """All that what comes out depends on, for a training that goes on."""
    return {
        "settings": asdict(settings),
        "dataset": file_sha256(inputs.dataset / MANIFEST),
        "encoders": base and base.manifest["files"],
        "virnucpro": __version__,
    }


def _write_groups(genomes: Path, path: Path) -> None:
    """Which group of which class is in which split, from the dataset's table of all records."""
    with genomes.open(newline="", encoding="utf-8") as text:
        rows = csv.DictReader(text, delimiter="\t")
        groups = Counter((row["class"], row["group"], row["split"]) for row in rows)
    with atomic(path) as partial, partial.open("w", newline="", encoding="utf-8") as text:
        writer = csv.writer(text, delimiter="\t", lineterminator="\n")
        writer.writerow(["class", "group", "split", "records"])
        writer.writerows([*group, count] for group, count in groups.items())


def _encoders(
    work: Path, base: ModelSet | None, training: Part, validation: Part, settings: Settings, log: Log
) -> tuple[tuple[Path, Path], list[Epoch]]:
    """DNABERT-S's folder and ESM-2's file, and what making them took."""
    if base is not None:
        return (base.dnabert_s, base.esm2), []
    validation = validation.at_most(settings.frames // VALIDATION_SHARE, settings.seed)
    return make_encoders(work, training.labelled(), validation.labelled(), settings, log)


def _embedded(work: Path, cut: Cut, encoders: Encoders, log: Log) -> Matrix:
    """(n, dim) features of the frames, made a chunk after the other."""
    work.mkdir(exist_ok=True)
    chunks = [np.empty((0, encoders.dim), dtype=np.float32)]
    for start in range(0, len(cut.frames), CHUNK):
        path = work / f"{start}.npy"
        if not path.exists():
            rows = encoders.embed(cut.frames[start : start + CHUNK])
            with atomic(path) as partial, partial.open("wb") as file:
                np.save(file, rows)
        chunks.append(np.load(path, allow_pickle=False))
        log(f"{work.name}: {min(start + CHUNK, len(cut.frames))} of {len(cut.frames)} frames")
    return np.concatenate(chunks)
