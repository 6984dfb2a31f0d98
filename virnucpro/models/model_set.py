"""Model sets: one folder with everything a run needs, and a manifest that says what each file must be."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from virnucpro.errors import InputError
from virnucpro.models.checksums import file_sha256

MANIFEST = "manifest.json"
_BUNDLED = Path(__file__).parent.parent / "model_sets"


@dataclass(frozen=True)
class ModelSet:
    """An opened model set: `window_length` in bases, `esm2` and `classifier` weight files, `dnabert_s` a
    folder with weights, configuration and tokenizer, the `precision`s it may run in, and the numbers in each
    encoder's embeddings. The files exist and have the manifest's sizes."""

    directory: Path
    name: str
    window_length: int
    esm2: Path
    dnabert_s: Path
    classifier: Path
    precision: tuple[str, ...]
    embedding_sizes: Mapping[str, int]
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, name_or_directory: str | Path) -> Self:
        """Find a set by name (bundled, or under `$VIRNUCPRO_MODELS`) or by folder, and check file sizes.

        Raises `InputError` naming the file that is missing or has another size, or the command that brings
        the set.
        """
        directory = _find(str(name_or_directory))
        try:
            manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
            opened = cls(
                directory,
                name=str(manifest["name"]),
                window_length=int(manifest["window_length"]),
                esm2=directory / str(manifest["esm2"]),
                dnabert_s=directory / str(manifest["dnabert_s"]),
                classifier=directory / str(manifest["classifier"]),
                precision=tuple(map(str, manifest["precision"])),
                embedding_sizes={part: int(size) for part, size in manifest["embedding_sizes"].items()},
                manifest=manifest,
            )
            expected = {directory / name: int(facts["bytes"]) for name, facts in manifest["files"].items()}
        except FileNotFoundError:
            raise InputError(f"{directory}: no {MANIFEST} in it; this is no model set") from None
        except (json.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{directory / MANIFEST}: not a model set's manifest ({error!r})") from None
        for path, size in expected.items():
            if not path.is_file():
                raise InputError(f"{path}: missing from the model set; {opened._repair}")
            if (found := path.stat().st_size) != size:
                raise InputError(f"{path}: damaged, {found} bytes instead of {size}; {opened._repair}")
        return opened

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
