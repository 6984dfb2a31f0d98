"""Weight files in, checked: nothing here runs code from a file, and every failure names the file."""

import json
import pickle
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeGuard

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from virnucpro.errors import InputError
from virnucpro.files import atomic
from virnucpro.models.checksums import check_torch_file, first_line


class NoWeights(TorchFunctionMode):
    """While it is entered, modules are built without weights: `torch.empty` gives shapes alone, on the meta
    device, and nothing is initialised.

    `torch.device("meta")` would initialise there, and compute what a module computes. Both load
    torch._dynamo: a second, 120 MB, and a KeyError for a user without a name, as in a container under a bare
    uid.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", None) in vars(nn.init):  # or the tensor method of that name
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs | {"device": "meta"} if func is torch.empty else kwargs)


def write_safetensors(path: Path, state: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors as safetensors, whole or not at all, without a copy of them in memory.

    More than one key in `metadata` would come out in an order that changes from run to run.
    """
    with atomic(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode  # the library makes files that only their owner can read
        try:
            save_file(state, temporary, metadata)
        except SafetensorError as error:
            if found := re.search(r"\(os error (\d+)\)", str(error)):
                raise OSError(int(found[1]), str(error), str(path)) from None
            raise InputError(f"{path}: cannot be written ({error})") from None
        temporary.chmod(mode)


def write_torch(path: Path, content: Any) -> None:
    """`torch.save`, whole or not at all. Raises `OSError` naming the file where the disk takes no more; by
    itself torch hides that behind a `RuntimeError` about positions."""
    with atomic(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file."""
    with _open_safetensors(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def read_metadata(path: Path) -> dict[str, str]:
    """A safetensors file's metadata; only its header is read."""
    with _open_safetensors(path) as file:
        return file.metadata() or {}


@contextmanager
def _open_safetensors(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: damaged, or not a safetensors file ({error})") from None


def read_folder(folder: Path) -> dict[str, Tensor]:
    """Weights of a folder as Hugging Face lays it out: safetensors or `.bin`, whole or in parts."""
    for name, read in _FOLDER_LAYOUTS.items():
        if (whole := folder / name).exists():
            return read(whole)
        if (index := folder / f"{name}.index.json").exists():
            parts = _parts(index)
            return {key: value for part in parts for key, value in read(folder / part).items()}
    raise InputError(f"{folder}: neither {' nor '.join(_FOLDER_LAYOUTS)} is there")


def _parts(index: Path) -> list[str]:
    """Names of the files, all beside it, that an index of weights lists."""
    weight_map = read_config(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(part, str) for part in weight_map.values()):
        raise InputError(f"{index}: not an index of weights (no weight_map of names)")
    parts = sorted(set(weight_map.values()))
    if any(not part.isprintable() or part != Path(part).name for part in parts):
        raise InputError(f"{index}: names a file outside its folder")
    return parts


def read_config(path: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a JSON object")
    return content


def whole_number(value: object, least: int = 1) -> bool:
    """Whether a size that a file states can be one: from `least` on, and not beyond any model's."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= 1 << 24


def read_torch(path: Path, allowed: Sequence[Any] = (), mmap: bool = False) -> Any:
    """`torch.load` with `weights_only=True`: tensors, plain containers, and the classes of `allowed`.

    Nothing in the file is run. Everything is compared with the CRC-32 that stands beside it, which torch
    writes and never looks at. With `mmap`, tensors are not: they stay on disk until they are used, shared by
    all processes that read them. Raises `InputError` for a file that is missing, damaged, or names anything
    else.
    """
    check_torch_file(path, tensors=not mmap)
    try:
        with torch.serialization.safe_globals(list(allowed)):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        if named := re.search(r"GLOBAL (\S+)", str(error)):
            raise InputError(f"{path}: refused: it names {named[1]}; nothing in it was run") from None
        raise InputError(f"{path}: cannot be read safely; nothing in it was run") from None
    except MemoryError:
        raise
    except Exception as error:  # what a pickle makes its reader raise is up to whoever wrote it
        raise InputError(f"{path}: cannot be read: damaged ({first_line(error)})") from None


def is_dense(value: object) -> TypeGuard[Tensor]:
    """Whether this is a tensor of real numbers in memory: none of the other things a torch file may hold."""
    return (
        isinstance(value, Tensor)
        and not value.is_complex()
        and value.device.type == "cpu"
        and value.layout == torch.strided
    )


def is_matrix(value: object, dimensions: int) -> TypeGuard[Tensor]:
    """Whether this is a tensor of floating-point numbers, each of them stored."""
    return (
        is_dense(value) and value.dim() == dimensions and value.is_floating_point() and value.is_contiguous()
    )


def read_state(path: Path) -> dict[str, Tensor]:
    """Named tensors in a torch file, mapped. Raises `InputError`, for anything else in it too."""
    state = read_torch(path, mmap=True)
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and is_dense(value) for name, value in state.items()
    ):
        raise InputError(f"{path}: not weights (named tensors, and nothing else, are expected)")
    return state


def check_weights(path: Path) -> None:
    """Compare weights in torch's layout, a file or a folder of them, with the sums beside them: read whole
    once, before they are written anew. Raises `InputError`."""
    for file in sorted(path.glob(WEIGHT_FILES[1])) if path.is_dir() else [path]:
        if file.suffix != ".safetensors":
            check_torch_file(file)


_FOLDER_LAYOUTS: dict[str, Callable[[Path], dict[str, Tensor]]] = {  # the safe one first
    "model.safetensors": lambda path: read_safetensors(path)[0],
    "pytorch_model.bin": read_state,
}
# What those files are called, whole or in parts.
WEIGHT_FILES = tuple(f"{Path(name).stem}*{Path(name).suffix}" for name in _FOLDER_LAYOUTS)
