"""Read a `.pt` file that holds plain Python data, at the speed of C and without running anything.

`torch.load(weights_only=True)` walks the pickle in Python: 16 s for 10,000 vectors of 768 Python floats.
The C unpickler takes 0.6 s for the same bytes and is as safe once it can find no class at all: with
nothing to call, a pickle can only build numbers, strings, lists and dictionaries.
"""

import io
import pickle
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from virnucpro.errors import InputError
from virnucpro.models.checksums import first_line, torch_file


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, where only plain data is allowed")


def load_plain(path: Path) -> Any:
    """The object in `path`, a file of `torch.save` without tensors or classes; else `InputError`."""
    with torch_file(path) as archive:
        names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        pickled = archive.read(names[0]) if names else b""
    if not names:
        raise InputError(f"{path}: not a torch file (no data.pkl inside)")
    try:
        return _PlainUnpickler(io.BytesIO(pickled)).load()
    except MemoryError:
        raise
    except Exception as error:  # what a pickle makes its reader raise is up to whoever wrote it
        raise InputError(f"{path}: cannot be read: {first_line(error)}; make the file again") from None


def ids_of(path: Path, content: object, key: str) -> list[str]:
    """The ids under `key` in what a step's file holds: words, each once. Raises `InputError`."""
    ids: Any = content.get(key) if isinstance(content, dict) else None
    try:
        sound = isinstance(ids, list) and " ".join(ids).encode().split() == [id.encode() for id in ids]
    except (TypeError, UnicodeEncodeError):
        sound = False
    if not sound:
        raise InputError(f"{path}: no list of ids under {key!r}; make the file again")
    if len(set(ids)) < len(ids):
        twice, _ = Counter(ids).most_common(1)[0]
        raise InputError(f"{path}: {twice} stands twice; ids must be unique")
    found: list[str] = ids
    return found
