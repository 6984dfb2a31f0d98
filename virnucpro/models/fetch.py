"""Bring a published model set: each part from this machine where it is there, else from its publisher.

Hugging Face repositories go through the hub's own client and its cache. Every downloaded file is compared
with the checksum that the server, or `published.json`, states, before anything reads it.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
from httpx2 import HTTPError, stream

from virnucpro.errors import InputError
from virnucpro.files import atomic
from virnucpro.locks import lock, lock_file
from virnucpro.models.assemble import assemble_model_set
from virnucpro.models.checksums import file_sha256, matches
from virnucpro.models.esm2_weights import fair_esm_download
from virnucpro.models.model_set import ModelSet, models_folder, published
from virnucpro.models.weights import WEIGHT_FILES

log = logging.getLogger(__name__)
_PATIENCE = 2 * 3600.0  # seconds for which a fetch waits for another one of the same set
_BESIDE_WEIGHTS = ("config.json", "tokenizer.json", "README.md")  # the README states the licence


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a set, on disk: a file or folder, and what the manifest says of where it came from."""

    path: Path
    source: Mapping[str, Any]


def fetch_model_set(name: str, given: Mapping[str, str]) -> ModelSet:
    """Bring the published set `name` into the models folder; one that is there and whole is left as it is.

    `given` maps a part (`esm2`, `dnabert_s`, `classifier`) to what the person has: a path, or a URL of the
    classifier. Raises `InputError` for an unknown name, a file whose checksum is not the stated one, or a
    download that did not come through.
    """
    known = published()
    if name not in known:
        raise InputError(f"{name}: not a published model set; there are {', '.join(known)}")
    facts = known[name]
    for value in given.values():
        if "://" not in value and not Path(value).exists():
            raise InputError(f"{value}: no such file or folder")
    directory = models_folder() / name
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
    except PermissionError as error:
        raise InputError(
            f"{directory.parent}: cannot be written ({error.strerror}); set VIRNUCPRO_MODELS"
        ) from None
    with lock(lock_file(directory), _PATIENCE):  # a second fetch waits and finds it done
        if directory.is_dir():
            try:
                found = ModelSet.open(directory)
                found.verify()
                return found
            except InputError as error:
                log.warning("%s; making it again", error)
        parts = {
            "classifier": _classifier(facts["classifier"], given.get("classifier")),
            "dnabert_s": _encoder(facts["dnabert_s"], given.get("dnabert_s")),
            "esm2": _encoder(facts["esm2"], given.get("esm2")),
        }
        log.info("putting the parts together in %s", directory)
        return assemble_model_set(
            directory,
            esm2=parts["esm2"].path,
            dnabert_s=parts["dnabert_s"].path,
            classifier=parts["classifier"].path,
            window_length=facts["window_length"],
            name=name,
            precision=facts["precision"],
            about={"sources": {part: taken.source for part, taken in parts.items()}},
            replace=True,
        )


def _encoder(facts: Mapping[str, str], given: str | None) -> Part:
    if given:
        return local_part(Path(given))
    if (file := facts.get("checkpoint")) and (checkpoint := fair_esm_download(file)).is_file():
        return local_part(checkpoint)
    return _from_hub(facts["repository"])


def _classifier(facts: Mapping[str, str], given: str | None) -> Part:
    """The classifier has no repository on the hub: it comes from a URL, and its checksum is known."""
    url = given or facts["url"]
    if "://" not in url:
        part = local_part(Path(url))
        if not matches(part.path, facts["digest"]):
            raise InputError(
                f"{url}: not the published {Path(facts['url']).name} (its checksum differs); "
                "for a set with another classifier: virnucpro models create"
            )
        return part
    path = models_folder() / ".downloads" / facts["digest"] / Path(facts["url"]).name
    if not (path.is_file() and matches(path, facts["digest"])):
        log.info("downloading %s", url)
        with _download_errors(url), atomic(path) as temporary:
            with temporary.open("wb") as file, stream("GET", url, follow_redirects=True) as response:
                response.raise_for_status()
                for chunk in response.iter_bytes():
                    file.write(chunk)
            if not matches(temporary, facts["digest"]):
                raise InputError(
                    f"{url}: refused: what came is not the published file (its checksum differs)"
                )
    return Part(path, {"url": url, "licence": facts["licence"], "files": _sums([path])})


def local_part(path: Path) -> Part:
    """A file or folder of weights that is here. Raises `InputError` when it is not."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    log.info("taking %s", path)
    return Part(path, {"files": _sums(files)})


def _from_hub(repository: str) -> Part:
    """Download a repository's weights in one layout, the safe one where there are both."""
    for pattern in WEIGHT_FILES:
        log.info("asking the hub for %s of %s", pattern, repository)
        with _download_errors(repository):
            folder = Path(
                huggingface_hub.snapshot_download(
                    repository, allow_patterns=[*_BESIDE_WEIGHTS, f"{pattern}*"]
                )
            )
        files = [file for name in (*_BESIDE_WEIGHTS, f"{pattern}*") for file in sorted(folder.glob(name))]
        if any(file.match(pattern) for file in files):
            break
    else:
        raise InputError(f"{repository}: holds neither {' nor '.join(WEIGHT_FILES)}")
    for file in files:
        _check_cached(repository, file)
    card = folder / "README.md"
    licence = (
        huggingface_hub.ModelCard.load(card, ignore_metadata_errors=True).data.license
        if card.exists()
        else None
    )
    source = {"repository": repository, "revision": folder.name, "licence": licence, "files": _sums(files)}
    return Part(folder, source)


def _check_cached(repository: str, file: Path) -> None:
    """The hub's cache keeps a file under the checksum that the server stated and links to it; a file that is
    not what that says is thrown out, so that the next fetch asks for it again."""
    if not file.is_symlink():
        raise InputError(
            f"{file}: the hub's cache has no links here; set HF_HOME to a file system with links"
        )
    kept = file.parent / file.readlink()
    if not matches(kept, kept.name):
        file.unlink()
        kept.unlink()
        raise InputError(
            f"{repository}: refused: {file.name} is not what the server states (its checksum differs); "
            "it was removed, so that the same command asks for it again"
        )


def _sums(files: list[Path]) -> dict[str, str]:
    return {file.name: file_sha256(file) for file in files}


@contextmanager
def _download_errors(what: str) -> Iterator[None]:
    """What a download can die of, as one line. The hub's errors have several; the first says it."""
    try:
        yield
    except (HTTPError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{what}: could not be downloaded ({reason}); the same command goes on from the files that are "
            "whole, and --esm2, --dnabert-s, --classifier take what you have from elsewhere"
        ) from None
