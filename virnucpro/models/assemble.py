"""A model set from weights as their authors publish them: converted, checked against each other, listed."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from virnucpro.defaults import PRECISIONS
from virnucpro.errors import InputError
from virnucpro.files import atomic
from virnucpro.models.checksums import file_sha256
from virnucpro.models.classifier import LABELS, convert_classifier, load_classifier
from virnucpro.models.composition import load_composition
from virnucpro.models.dnabert_s import convert_dnabert_s, load_dnabert_s
from virnucpro.models.esm2 import load_esm2
from virnucpro.models.esm2_weights import convert_esm2
from virnucpro.models.model_set import BUNDLED_PARTS, MANIFEST, ModelSet, is_set_alone

_META = torch.device("meta")  # weights are checked by name and shape there, and not read
ANY_PRECISION = PRECISIONS[1:]  # all but auto


def assemble_model_set(
    directory: Path,
    *,
    esm2: Path,
    dnabert_s: Path,
    classifier: Path,
    window_length: int,
    name: str | None = None,
    precision: Sequence[str] = ANY_PRECISION,
    composition: Path | None = None,
    calibration: Path | None = None,
    score_all: bool = False,
    demonstration: bool = False,
    about: Mapping[str, Any] | None = None,
    beside: Sequence[Path] = (),
    replace: bool = False,
) -> ModelSet:
    """Convert the three parts, whatever layout they are in, into the new model set `directory`.

    `precision`: what it may run in. `composition` and `calibration` are copied; where none are given, those
    that come with virnucpro, the latter without its part for frame scores, which are another set's.
    `score_all`, `demonstration`: as `ModelSet` has them. `about` adds free keys to the manifest (sources,
    training); the files `beside` are copied. Raises `InputError` naming the file that is missing, damaged,
    refused, or of another width, and when `directory` exists, unless it is to `replace` it and holds a model
    set of this name and nothing else.
    """
    name = name or directory.name
    if os.path.lexists(directory) and not (replace and is_set_alone(directory, name)):
        raise InputError(f"{directory}: exists already; choose another folder or remove it")
    if composition and not calibration:
        raise InputError(f"{composition}: a composition model needs the calibration that was fitted on it")
    sizes = {"dnabert_s": load_dnabert_s(dnabert_s, _META).dim, "esm2": load_esm2(esm2, _META).dim}
    with atomic(directory, replace_folder=replace) as partial:
        partial.mkdir(parents=True)
        convert_classifier(classifier, partial / "classifier.safetensors")
        takes = load_classifier(partial / "classifier.safetensors").input_dim
        if takes != sum(sizes.values()):
            raise InputError(
                f"{classifier}: takes {takes} features, but {dnabert_s} gives {sizes['dnabert_s']} "
                f"and {esm2} {sizes['esm2']}; these weights do not belong together"
            )
        convert_dnabert_s(dnabert_s, partial / "dnabert_s")
        convert_esm2(esm2, partial / "esm2.safetensors")
        load_composition(composition or BUNDLED_PARTS["composition"])
        _take(composition or BUNDLED_PARTS["composition"], partial / BUNDLED_PARTS["composition"].name)
        target = partial / BUNDLED_PARTS["calibration"].name
        _take(calibration or BUNDLED_PARTS["calibration"], target)
        if calibration is None:
            target.write_text(json.dumps({**json.loads(target.read_text()), "frames": None}) + "\n")
        for path in beside:
            _take(path, partial / path.name)
        files = sorted(path for path in partial.rglob("*") if path.is_file())
        manifest = {
            "name": name,
            "window_length": window_length,
            "esm2": "esm2.safetensors",
            "dnabert_s": "dnabert_s",
            "classifier": "classifier.safetensors",
            **{key: path.name for key, path in BUNDLED_PARTS.items()},
            "score_all": score_all,
            "demonstration": demonstration,
            "embedding_sizes": sizes,
            "precision": list(precision),
            "scores": {f"score{n}": f"probability of {label}" for n, label in enumerate(LABELS, 1)},
            **(about or {}),
            "files": {
                path.relative_to(partial).as_posix(): {
                    "bytes": path.stat().st_size,
                    "sha256": file_sha256(path),
                }
                for path in files
            },
        }
        text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
        (partial / MANIFEST).write_text(text, encoding="utf-8")
    return ModelSet.open(directory)


def _take(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise InputError(f"{source}: cannot be read: {error.strerror}") from None
