"""The whole way from a table of labelled genomes to a model set: `train_model_set`."""

import csv
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from virnucpro import __version__
from virnucpro.errors import InputError
from virnucpro.files import atomic
from virnucpro.models.assemble import assemble_model_set
from virnucpro.models.classifier import MLPClassifier, save_classifier, scores
from virnucpro.models.model_set import ModelSet
from virnucpro.threads import limit
from virnucpro.training.card import model_card
from virnucpro.training.data import (
    SPLITS,
    Genome,
    Split,
    data_facts,
    load_genomes,
    read_table,
)
from virnucpro.training.encoders import Encoders, load_encoders
from virnucpro.training.evaluation import FrameScores, Row, evaluate
from virnucpro.training.fit import Epoch, Examples, balanced_weights, fit
from virnucpro.training.fragments import Fragment, sample
from virnucpro.training.small_encoders import LabelledFrames, make_small_encoders
from virnucpro.training.splits import split_groups

MIN_FRAGMENTS = 10  # with an open frame, of each label, to train on and to validate


@dataclass(frozen=True)
class Settings:
    """Everything, beside the data, that changes the result."""

    window_length: int = 500
    fragments_per_class: int = 2500
    seed: int = 1
    threads: int = 1


def train_model_set(
    table: Path,
    data_dir: Path,
    output: Path,
    base: str | None,
    settings: Settings,
    log: Callable[[str], None],
) -> list[Row]:
    """Train on the genomes in `table`, measure on its test split, write the model set `output`.

    With `base`, the encoders of that model set are used as they are; without, small ones are made.
    The same inputs, settings and machine give the same bytes. Returns the measurements.
    Raises `InputError` when the table, the sequences or `output` do not allow it; nothing is left behind.
    """
    if output.exists():
        raise InputError(f"{output}: exists already; choose another folder or remove it")
    limit(settings.threads)
    sources = read_table(table, data_dir)
    given = None if base is None else ModelSet.open(base)
    parts = split_groups(load_genomes(sources), settings.seed)
    training, validation = (draw(parts[split], split, settings) for split in ("train", "validation"))
    log(f"{len(training)} fragments to train on, {len(validation)} to validate")
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        made = scratch / "set"
        if given is None:
            labelled = label_frames(training), label_frames(validation)
            encoders = make_small_encoders(scratch / "encoders", *labelled, settings.seed, log)
        else:
            encoders = load_encoders(given.dnabert_s, given.esm2)
        classifier, history = fit(examples(encoders, training), examples(encoders, validation), settings.seed)
        log(f"classifier: {len(history)} epochs, lowest validation loss {lowest(history):.4f}")
        rows = evaluate(
            parts["test"], frame_scores(encoders, classifier), settings.window_length, settings.seed
        )
        save_classifier(scratch / "classifier.safetensors", classifier)
        facts = {
            "virnucpro": __version__,
            "torch": torch.__version__,
            "settings": asdict(settings),
            "encoders": "small, trained from random weights" if given is None else f"of {given.name}, frozen",
            "data": data_facts(sources, data_dir),
            "splits": split_facts(parts, {"train": training, "validation": validation}),
            "classifier_epochs": [asdict(epoch) for epoch in history],
            "test": [asdict(row) for row in rows],
        }
        assemble_model_set(
            made,
            name=output.name,
            esm2=encoders.esm2_file,
            dnabert_s=encoders.dnabert_s_folder,
            classifier=scratch / "classifier.safetensors",
            window_length=settings.window_length,
            about={"training": facts},
        )
        card = model_card(output.name, facts, rows)
        (made / "MODEL_CARD.md").write_text(card, encoding="utf-8")
        shutil.copyfile(table, made / "training.tsv")
        write_splits(made / "splits.tsv", parts)
        with atomic(output) as partial:
            shutil.copytree(made, partial)
    return rows


def label_frames(fragments: Sequence[Fragment]) -> LabelledFrames:
    """The fragments' frames, each with its fragment's label, weighted by `balanced_weights`."""
    frames = [frame for fragment in fragments for frame in fragment.frames]
    of_frame = [fragment for fragment in fragments for _ in fragment.frames]
    y = np.array([fragment.label for fragment in of_frame], dtype=np.int64)
    return LabelledFrames(frames, y, balanced_weights(y, [fragment.kind for fragment in of_frame]))


def examples(encoders: Encoders, fragments: Sequence[Fragment]) -> Examples:
    """One row of features per open frame, in order."""
    labelled = label_frames(fragments)
    return Examples(encoders.embed(labelled.frames), labelled.y, labelled.weight)


def draw(genomes: Sequence[Genome], split: Split, settings: Settings) -> list[Fragment]:
    """Fragments with an open frame: half of them whole windows, half shorter, as the ends of contigs are."""
    size = settings.window_length
    count = settings.fragments_per_class if split == "train" else max(1, settings.fragments_per_class // 5)

    def length(random: Random) -> int:
        return size if random.random() < 0.5 else random.randint(size // 2, size)

    fragments = sample(genomes, count, size, length, f"{settings.seed}/{split}", only_with_frames=True)
    for label, name in enumerate(("other", "viral")):
        found = sum(fragment.label == label for fragment in fragments)
        if found < MIN_FRAGMENTS:
            raise InputError(
                f"only {found} {name} fragment(s) with an open frame for {split}, at least "
                f"{MIN_FRAGMENTS} are needed; add sequences to the table"
            )
    return fragments


def frame_scores(encoders: Encoders, classifier: MLPClassifier) -> FrameScores:
    """The scoring that `evaluate` asks for: embeddings, then the classifier."""

    def score(fragments: Sequence[Fragment]) -> list[list[NDArray[np.float32]]]:
        rows = scores(
            classifier, encoders.embed([frame for fragment in fragments for frame in fragment.frames])
        )
        ends = np.cumsum([len(window) for fragment in fragments for window in fragment.windows])
        windows = iter(np.split(rows, ends[:-1]))
        return [[next(windows) for _ in fragment.windows] for fragment in fragments]

    return score


def lowest(history: Sequence[Epoch]) -> float:
    """The validation loss of the weights that were kept."""
    return min(epoch.validation_loss for epoch in history)


def split_facts(
    parts: Mapping[Split, Sequence[Genome]], drawn: Mapping[Split, Sequence[Fragment]]
) -> list[dict[str, Any]]:
    """How much of each class is in each split; fragments and frames only where they were drawn once."""
    facts = []
    for kind in dict.fromkeys(genome.kind for split in SPLITS for genome in parts[split]):
        for split in SPLITS:
            genomes = [genome for genome in parts[split] if genome.kind == kind]
            fragments = [fragment for fragment in drawn.get(split, []) if fragment.kind == kind]
            facts.append(
                {
                    "class": kind,
                    "split": split,
                    "groups": len({genome.group for genome in genomes}),
                    "genomes": len(genomes),
                    "bases": sum(len(genome.dna) for genome in genomes),
                    "fragments": len(fragments),
                    "frames": sum(len(fragment.frames) for fragment in fragments),
                }
            )
    return facts


def write_splits(path: Path, parts: Mapping[Split, Sequence[Genome]]) -> None:
    """Which group went where: `class group split genomes`."""
    with path.open("w", newline="", encoding="utf-8") as text:
        writer = csv.writer(text, delimiter="\t", lineterminator="\n")
        writer.writerow(["class", "group", "split", "genomes"])
        for split in SPLITS:
            count = Counter((genome.kind, genome.group) for genome in parts[split])
            writer.writerows([kind, group, split, number] for (kind, group), number in count.items())
