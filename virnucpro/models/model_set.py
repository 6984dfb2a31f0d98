"""Model sets: one folder with everything a run needs, and a manifest that says what each file must be."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from virnucpro.errors import InputError
from virnucpro.files import atomic

MANIFEST = "manifest.json"
_BUNDLED = Path(__file__).parent.parent / "model_sets"
_REPAIR = "copy or create the model set again"
_DNABERT_S_FILES = ("config.json", "tokenizer.json", "model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class ModelSet:
    """An opened model set: `window_length` in bases, `esm2` and `classifier` weight files, `dnabert_s` a
    folder with weights, configuration and tokenizer. The files exist and have the manifest's sizes."""

    directory: Path
    name: str
    window_length: int
    esm2: Path
    dnabert_s: Path
    classifier: Path
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, name_or_directory: str | Path) -> Self:
        """Find a set by name (bundled, or under `$VIRNUCPRO_MODELS`) or by folder, and check file sizes.

        Raises `InputError` naming the file that is missing or has another size, or the places looked at.
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
                manifest=manifest,
            )
            expected = {directory / name: int(facts["bytes"]) for name, facts in manifest["files"].items()}
        except FileNotFoundError:
            raise InputError(f"{directory}: no {MANIFEST} in it; this is no model set") from None
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{directory / MANIFEST}: not a model set's manifest ({error!r})") from None
        for path, size in expected.items():
            if not path.is_file():
                raise InputError(f"{path}: missing from the model set; {_REPAIR}")
            if (found := path.stat().st_size) != size:
                raise InputError(f"{path}: damaged, {found} bytes instead of {size}; {_REPAIR}")
        return opened

    def sha256(self, path: Path) -> str:
        """The manifest's checksum of one of the set's files."""
        return str(self.manifest["files"][path.relative_to(self.directory).as_posix()]["sha256"])

    def verify(self) -> None:
        """Read every file whole and compare SHA-256; raises `InputError` naming the first that differs."""
        for name, facts in self.manifest["files"].items():
            path = self.directory / name
            if file_sha256(path) != facts["sha256"]:
                raise InputError(f"{path}: damaged, its SHA-256 is not the manifest's; {_REPAIR}")


def create_model_set(
    directory: Path,
    *,
    name: str,
    esm2: Path,
    dnabert_s: Path,
    classifier: Path,
    window_length: int,
    about: Mapping[str, Any] | None = None,
) -> ModelSet:
    """Copy the weights into a new model set with its manifest; `about` adds free keys (sources, training).

    Raises `InputError` when `directory` exists or a source is missing.
    """
    if directory.exists():
        raise InputError(f"{directory}: exists already; choose another folder or remove it")
    sources = {esm2.name: esm2, classifier.name: classifier}
    sources |= {
        f"dnabert_s/{file}": dnabert_s / file for file in _DNABERT_S_FILES if (dnabert_s / file).exists()
    }
    for source in sources.values():
        if not source.is_file():
            raise InputError(f"{source}: no such file")
    with atomic(directory) as partial:
        (partial / "dnabert_s").mkdir(parents=True)
        for target, source in sources.items():
            shutil.copyfile(source, partial / target)
        manifest = {
            "name": name,
            "window_length": window_length,
            "esm2": esm2.name,
            "dnabert_s": "dnabert_s",
            "classifier": classifier.name,
            **(about or {}),
            "files": {
                target: {"bytes": (partial / target).stat().st_size, "sha256": file_sha256(partial / target)}
                for target in sorted(sources)
            },
        }
        text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
        (partial / MANIFEST).write_text(text, encoding="utf-8")
    return ModelSet.open(directory)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_sha256(path: Path) -> str:
    """SHA-256 of a weight file; of a folder of them, that of its files' names and sums."""
    if path.is_file():
        return file_sha256(path)
    if not path.is_dir():
        raise InputError(f"{path}: no such file")
    lines = [f"{file_sha256(file)}  {file.name}\n" for file in sorted(path.iterdir()) if file.is_file()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def models_folder() -> Path:
    """Where model sets that are not bundled live: `$VIRNUCPRO_MODELS`, else `~/.cache/virnucpro/models`."""
    return Path(os.environ.get("VIRNUCPRO_MODELS") or Path.home() / ".cache" / "virnucpro" / "models")


def _find(name: str) -> Path:
    candidates = (
        [Path(name)] if os.sep in name or Path(name).is_dir() else [_BUNDLED / name, models_folder() / name]
    )
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    looked = " or ".join(str(candidate) for candidate in candidates)
    raise InputError(
        f"model set {name!r} not found ({looked}). Make it from the weights you have: "
        f"virnucpro models create {candidates[-1]} --esm2 FILE --dnabert-s FOLDER --classifier FILE; "
        "or use --models mini, the small set that comes with virnucpro"
    )
