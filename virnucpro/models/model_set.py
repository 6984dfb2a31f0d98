"""Model sets: one folder with everything a run needs, and a manifest that says what each file must be."""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Self

from virnucpro.errors import InputError
from virnucpro.models.checksums import file_sha256

MANIFEST = "manifest.json"
_READ_FROM_A_FOLDER = (".json", ".safetensors", ".bin")  # configuration, tokenizer, weights in any layout
_BUNDLED = Path(__file__).parent.parent / "model_sets"
BUNDLED_PARTS = {  # that serve every set which has none of its own
    "composition": _BUNDLED / "mini" / "composition.safetensors",
    "calibration": _BUNDLED / "mini" / "calibration.json",
}


@dataclass(frozen=True)
class ModelSet:
    """An opened model set: `window_length` in bases, `esm2` and `classifier` weight files, `dnabert_s` a
    folder with weights, configuration and tokenizer, the `precision`s it may run in, and the numbers in each
    encoder's embeddings. `composition` and `calibration`: the set's own files, or for a set made without any
    those that come with virnucpro. `score_all`: whether the calibrated score decides by default.
    `demonstration`: a set to try things with, not for findings. The files exist and have the manifest's
    sizes."""

    directory: Path
    name: str
    window_length: int
    esm2: Path
    dnabert_s: Path
    classifier: Path
    composition: Path
    calibration: Path
    score_all: bool
    demonstration: bool
    precision: tuple[str, ...]
    embedding_sizes: Mapping[str, int]
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, name_or_directory: str | Path) -> Self:
        """Find a set by name (bundled, or under `$VIRNUCPRO_MODELS`) or by folder, and check file sizes.

        Raises `InputError` naming the file that is missing, has another size, or is used and not listed in
        the manifest, or the command that brings the set.
        """
        directory = _find(str(name_or_directory))
        manifest = _read_manifest(directory / MANIFEST)
        opened = cls(
            directory,
            name=manifest["name"],
            window_length=manifest["window_length"],
            esm2=directory / manifest["esm2"],
            dnabert_s=directory / manifest["dnabert_s"],
            classifier=directory / manifest["classifier"],
            composition=_part(directory, manifest, "composition"),
            calibration=_part(directory, manifest, "calibration"),
            score_all=manifest.get("score_all", False),
            demonstration=manifest.get("demonstration", False),
            precision=tuple(manifest["precision"]),
            embedding_sizes=manifest["embedding_sizes"],
            manifest=manifest,
        )
        for name, facts in manifest["files"].items():
            path, size = directory / name, facts["bytes"]
            if not path.is_file():
                raise InputError(f"{path}: missing from the model set; {opened._repair}")
            if (found := path.stat().st_size) != size:
                raise InputError(f"{path}: damaged, {found} bytes instead of {size}; {opened._repair}")
        for path in opened._read():
            if path.relative_to(directory).as_posix() not in manifest["files"]:
                raise InputError(
                    f"{directory / MANIFEST}: lists no bytes and sha256 of {path}, which is read; "
                    f"{opened._repair}"
                )
        return opened

    @property
    def notice(self) -> str | None:
        """What a person must know of a set that is not a published one; nothing of those."""
        if self.demonstration:
            return (
                f"{self.name} is a demonstration: small models, trained on a few public genomes. It is not "
                "the published VirNucPro, and its calls are not for findings."
            )
        return None if self.name in published() else f"{self.name} is not one of the published model sets."

    @property
    def own_calibration(self) -> bool:
        """Whether the calibration was made for this set, so that it may know its frame scores."""
        return "calibration" in self.manifest

    def _read(self) -> list[Path]:
        """Every file that a part is read from."""
        parts = [path for path in sorted(self.dnabert_s.glob("[!.]*")) if path.suffix in _READ_FROM_A_FOLDER]
        own = [self.directory / self.manifest[key] for key in BUNDLED_PARTS if key in self.manifest]
        return [self.esm2, self.classifier, *own, *parts]

    def sha256(self, path: Path) -> str:
        """The manifest's checksum of one of the set's files."""
        return str(self.manifest["files"][path.relative_to(self.directory).as_posix()]["sha256"])

    def verify(self) -> None:
        """Read every file whole and compare SHA-256; raises `InputError` naming the first that differs."""
        for name, facts in self.manifest["files"].items():
            path = self.directory / name
            if file_sha256(path) != facts["sha256"]:
                raise InputError(f"{path}: damaged, its SHA-256 is not the manifest's; {self._repair}")

    @property
    def _repair(self) -> str:
        if self.name in published():
            return f"virnucpro models fetch {self.name} brings it again"
        return "copy or create the model set again"


def is_set_alone(folder: Path, name: str) -> bool:
    """Whether a folder is a model set of that name, be it damaged, and holds no file but the set's."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        known = {MANIFEST, *manifest["files"]}
        found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
        return not folder.is_symlink() and manifest["name"] == name and found <= known
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _is_name(value: object) -> bool:
    """Whether this names something in the set's own folder."""
    path = PurePosixPath(value) if isinstance(value, str) else PurePosixPath()
    short = len(str(path).encode(errors="replace")) < 256
    return short and bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _is_sum(facts: object) -> bool:
    return (
        isinstance(facts, dict)
        and type(facts.get("bytes")) is int
        and re.fullmatch("[0-9a-f]{64}", str(facts.get("sha256"))) is not None
    )


# What a manifest states: its keys, and what each value must be.
_SHAPE: Mapping[str, Callable[[Any], bool]] = {
    "name": lambda value: isinstance(value, str) and value != "" and value.isprintable(),
    "window_length": lambda value: type(value) is int and value >= 3,
    "esm2": _is_name,
    "dnabert_s": _is_name,
    "classifier": _is_name,
    "precision": lambda value: isinstance(value, list) and all(isinstance(word, str) for word in value),
    "embedding_sizes": lambda value: (
        isinstance(value, dict)
        and value.keys() == {"dnabert_s", "esm2"}
        and all(type(size) is int and size > 0 for size in value.values())
    ),
    "files": lambda value: (
        isinstance(value, dict) and all(_is_name(name) and _is_sum(facts) for name, facts in value.items())
    ),
}

_MAY_STATE: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(BUNDLED_PARTS, _is_name),
    **dict.fromkeys(("score_all", "demonstration"), lambda value: type(value) is bool),
}


def _part(directory: Path, manifest: Mapping[str, Any], key: str) -> Path:
    return directory / manifest[key] if key in manifest else BUNDLED_PARTS[key]


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path.parent}: no {MANIFEST} in it; this is no model set") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a model set's manifest ({error})") from None
    for key in _SHAPE:
        if not isinstance(manifest, dict) or key not in manifest:
            raise InputError(f"{path}: not a model set's manifest (it has no {key!r})")
    for key, fits in {**_SHAPE, **_MAY_STATE}.items():
        if key in manifest and not fits(manifest[key]):
            raise InputError(f"{path}: not a model set's manifest ({key!r} is {manifest[key]!r:.100})")
    return dict(manifest)


def published() -> Mapping[str, Any]:
    """What `virnucpro models fetch` knows, by name: where each part of a set is published."""
    known: Mapping[str, Any] = json.loads((_BUNDLED / "published.json").read_text(encoding="utf-8"))
    return known


def models_folder() -> Path:
    """Where model sets that are not bundled live: `$VIRNUCPRO_MODELS`, else `~/.cache/virnucpro/models`.

    Raises `InputError` where there is no home either, as for a bare uid in a container.
    """
    try:
        return Path(os.environ.get("VIRNUCPRO_MODELS") or Path.home() / ".cache" / "virnucpro" / "models")
    except RuntimeError:
        raise InputError(
            "no folder for model sets: this user has no home folder; set HOME or VIRNUCPRO_MODELS"
        ) from None


def present_sets() -> Iterator[Path]:
    """Folders of the bundled sets, then those in the models folder."""
    places = [_BUNDLED]
    with suppress(InputError):  # no home: the bundled ones are all there is
        places.append(models_folder())
    for place in places:
        if place.is_dir():
            yield from sorted(folder for folder in place.iterdir() if (folder / MANIFEST).is_file())


def _find(name: str) -> Path:
    if os.sep in name or Path(name).is_dir():
        candidates = [Path(name)]
    elif (bundled := _BUNDLED / name).is_dir():  # without a look into the models folder, which needs a home
        return bundled
    else:
        candidates = [bundled, models_folder() / name]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    looked = " or ".join(str(candidate) for candidate in candidates)
    bring = (
        f"Bring it with: virnucpro models fetch {name}"
        if name in published()
        else f"Make it from the weights you have: virnucpro models create {candidates[-1]} "
        "--esm2 FILE --dnabert-s FOLDER --classifier FILE"
    )
    raise InputError(
        f"model set {name!r} not found ({looked}). {bring}; "
        "or use --models mini, the small set that comes with virnucpro"
    )
