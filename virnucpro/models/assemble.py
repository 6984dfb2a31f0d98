"""A model set from weights as their authors publish them."""

import tempfile
from pathlib import Path

import torch

from virnucpro.errors import InputError
from virnucpro.models.classifier import load_classifier, load_original_classifier, save_classifier
from virnucpro.models.dnabert_s import load_dnabert_s
from virnucpro.models.esm2_weights import read_esm2_config
from virnucpro.models.model_set import ModelSet, create_model_set


def assemble_model_set(
    directory: Path, esm2: Path, dnabert_s: Path, classifier: Path, window_length: int
) -> ModelSet:
    """Check that the three fit together, convert a pickled classifier, and make the set.

    Raises `InputError` naming the file that is missing, damaged, or of another width.
    """
    nucleotide = load_dnabert_s(dnabert_s, torch.device("cpu")).dim
    protein = read_esm2_config(esm2).embed_dim
    pickled = classifier.suffix != ".safetensors"
    loaded = load_original_classifier(classifier) if pickled else load_classifier(classifier)
    if loaded.input_dim != nucleotide + protein:
        raise InputError(
            f"{classifier}: takes {loaded.input_dim} features, but {dnabert_s} gives {nucleotide} "
            f"and {esm2} {protein}; these weights do not belong together"
        )
    with tempfile.TemporaryDirectory() as folder:
        safe = Path(folder) / "classifier.safetensors"
        save_classifier(safe, loaded)
        return create_model_set(
            directory,
            name=directory.name,
            esm2=esm2,
            dnabert_s=dnabert_s,
            classifier=safe,
            window_length=window_length,
        )
