"""A manifest lists every file that is read, and names nothing outside its folder."""

import copy
import json
import shutil
from pathlib import Path

import pytest

from virnucpro.calling.verdict import calibration_of
from virnucpro.errors import InputError
from virnucpro.models.assemble import assemble_model_set
from virnucpro.models.model_set import ModelSet


@pytest.mark.parametrize(
    "name",
    [
        "esm2.safetensors",
        "classifier.safetensors",
        "composition.safetensors",
        "calibration.json",
        "dnabert_s/config.json",
        "dnabert_s/tokenizer.json",
        "dnabert_s/model.safetensors",
    ],
)
def test_a_file_that_the_manifest_does_not_list_is_not_used(
    name: str, model_set: ModelSet, tmp_path: Path
) -> None:
    """Nothing would check it."""
    folder = shutil.copytree(model_set.directory, tmp_path / "set")
    manifest = copy.deepcopy(dict(model_set.manifest))
    del manifest["files"][name]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=rf"manifest.json: lists no bytes and sha256 of {folder / name}"):
        ModelSet.open(folder)


def test_weights_that_stand_before_the_listed_ones_are_not_used(model_set: ModelSet, tmp_path: Path) -> None:
    """A folder's weights are looked for by name; a file added there would be read instead."""
    folder = shutil.copytree(model_set.directory, tmp_path / "set")
    (folder / "dnabert_s" / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(InputError, match=r"manifest.json: lists no .*model.safetensors.index.json"):
        ModelSet.open(folder)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (["name"], ""),
        (["name"], "two\nlines"),
        (["name"], 5),
        (["window_length"], "500"),
        (["window_length"], 2),
        (["window_length"], True),
        (["precision"], "fp32"),
        (["precision"], [32]),
        (["embedding_sizes"], {"esm2": 32}),
        (["embedding_sizes", "esm2"], "32"),
        (["embedding_sizes", "esm2"], 0),
        (["files"], ["esm2.safetensors"]),
        (["files", "esm2.safetensors"], 5),
        (["files", "esm2.safetensors", "bytes"], "5"),
        (["files", "esm2.safetensors", "sha256"], None),
        (["files", "esm2.safetensors", "sha256"], "abc"),
        (["composition"], ""),
        (["calibration"], 5),
        (["score_all"], "true"),
        (["demonstration"], 1),
        (["files", "x" * 300], {"bytes": 1, "sha256": "0" * 64}),
    ],
)
def test_values_that_a_manifest_cannot_have(
    keys: list[str], value: object, model_set: ModelSet, tmp_path: Path
) -> None:
    folder = shutil.copytree(model_set.directory, tmp_path / "set")
    manifest = copy.deepcopy(dict(model_set.manifest))
    inner = manifest
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=rf"manifest.json: not a model set's manifest \('{keys[0]}' is"):
        ModelSet.open(folder)


@pytest.mark.parametrize("name", ["../esm2.safetensors", "a/../../x", "/etc/passwd", "", "."])
@pytest.mark.parametrize("key", ["esm2", "dnabert_s", "classifier", "calibration", "files"])
def test_names_stay_in_the_sets_folder(name: str, key: str, model_set: ModelSet, tmp_path: Path) -> None:
    folder = shutil.copytree(model_set.directory, tmp_path / "set")
    manifest = copy.deepcopy(dict(model_set.manifest))
    shutil.copy(model_set.esm2, tmp_path)  # it would be found
    if key == "files":
        manifest["files"][name] = manifest["files"]["esm2.safetensors"]
    else:
        manifest[key] = name
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=rf"manifest.json: not a model set's manifest \('{key}' is"):
        ModelSet.open(folder)


def test_a_set_made_before_uses_what_comes_with_virnucpro(model_set: ModelSet, tmp_path: Path) -> None:
    """But not its calibration of frame scores: they are another set's."""
    folder = shutil.copytree(model_set.directory, tmp_path / "set")
    new = ("composition", "calibration", "score_all", "demonstration")
    (folder / "manifest.json").write_text(
        json.dumps({key: value for key, value in model_set.manifest.items() if key not in new})
    )
    old, mini = ModelSet.open(folder), ModelSet.open("mini")
    assert (old.composition, old.calibration) == (mini.composition, mini.calibration)
    assert (old.score_all, old.demonstration, old.own_calibration) == (False, False, False)
    assert calibration_of(old).both is None
    assert (mini.score_all, mini.demonstration) == (True, True)
    assert calibration_of(mini).both is not None
    assert calibration_of(model_set).both is not None


def test_a_set_assembled_without_them_holds_copies(model_set: ModelSet, tmp_path: Path) -> None:
    parts = {"esm2": model_set.esm2, "dnabert_s": model_set.dnabert_s, "classifier": model_set.classifier}
    made = assemble_model_set(tmp_path / "new", **parts, window_length=500)
    mini = ModelSet.open("mini")
    assert made.composition.parent == made.calibration.parent == made.directory
    assert made.composition.read_bytes() == mini.composition.read_bytes()
    assert calibration_of(made).both is None
    assert calibration_of(made).composition.presets.keys() == calibration_of(mini).composition.presets.keys()
    made.verify()
    own = {"composition": model_set.composition, "calibration": model_set.calibration}
    for wrong, message in [
        ({**own, "composition": tmp_path / "nothing"}, "nothing: no such composition model"),
        ({**own, "calibration": tmp_path / "nothing"}, "nothing: cannot be read"),
        ({"composition": model_set.composition}, "needs the calibration that was fitted on it"),
    ]:
        with pytest.raises(InputError, match=message):
            assemble_model_set(tmp_path / "other", **parts, window_length=500, **wrong)
    assert not (tmp_path / "other").exists()
