"""No weight file runs code: what hides a command is refused by name, whichever model it pretends to be."""

import os
import shutil
import sys
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from virnucpro.errors import InputError
from virnucpro.models.classifier import load_original_classifier
from virnucpro.models.dnabert_s import load_dnabert_s
from virnucpro.models.esm2 import load_esm2
from virnucpro.models.weights import read_folder

CPU = torch.device("cpu")


class Command:
    """Runs a command when it is unpickled freely."""

    def __init__(self, touched: Path) -> None:
        self.command = f"touch {touched}"

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


class InsideAllowedCall:
    """The command is an argument of a call that every reader allows."""

    def __init__(self, inner: Command) -> None:
        self.inner = inner

    def __reduce__(self) -> tuple[Any, ...]:
        return OrderedDict, ([("weight", self.inner)],)


class InsideTensor:
    """The command is a hook of a parameter, two allowed calls deep."""

    def __init__(self, inner: Command) -> None:
        self.inner = inner

    def __reduce__(self) -> tuple[Any, ...]:
        hooks = InsideAllowedCall(self.inner)
        return torch._utils._rebuild_parameter, (torch.ones(2), False, hooks)


class Evaluated:
    """The command as Python code, for a builtin to run."""

    def __init__(self, inner: Command) -> None:
        self.code = f"__import__('os').system({inner.command!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (self.code,)


HIDDEN: dict[str, Callable[[Command], object]] = {
    "alone": lambda command: command,
    "in a list": lambda command: [1, {"a": (command,)}],
    "in an allowed call": InsideAllowedCall,
    "in a tensor's hooks": InsideTensor,
    "as code": Evaluated,
}


class MLPClassifier(nn.Module):
    """The original's class, as far as its pickle goes."""

    def __init__(self, hidden: object) -> None:
        super().__init__()
        self.hidden_layer = nn.Linear(3, 2)
        self.extra = hidden


def as_classifier(payload: object, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A whole pickled module of `__main__.MLPClassifier` with the payload among its attributes."""
    monkeypatch.setattr(MLPClassifier, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "MLPClassifier", MLPClassifier, raising=False)
    torch.save(MLPClassifier(payload), folder / "500_model.pth")
    return folder / "500_model.pth", folder / "500_model.pth"


def as_fair_esm(payload: object, folder: Path, _: pytest.MonkeyPatch) -> tuple[Path, Path]:
    torch.save({"cfg": {"model": Namespace(encoder_layers=payload)}, "model": {}}, folder / "esm2.pt")
    return folder / "esm2.pt", folder / "esm2.pt"


def as_hugging_face_esm2(payload: object, folder: Path, _: pytest.MonkeyPatch) -> tuple[Path, Path]:
    (folder / "config.json").write_text(
        '{"num_hidden_layers": 1, "hidden_size": 4, "num_attention_heads": 1, "token_dropout": true, '
        '"position_embedding_type": "rotary"}'
    )
    torch.save({"esm.encoder": payload}, folder / "pytorch_model.bin")
    return folder, folder / "pytorch_model.bin"


def as_dnabert_s(payload: object, folder: Path, _: pytest.MonkeyPatch) -> tuple[Path, Path]:
    torch.save({"bert.encoder": payload}, folder / "pytorch_model.bin")
    return folder, folder / "pytorch_model.bin"


READERS: dict[str, tuple[Callable[..., tuple[Path, Path]], Callable[[Path], object]]] = {
    "classifier": (as_classifier, load_original_classifier),
    "fair-esm": (as_fair_esm, lambda path: load_esm2(path, CPU)),
    "ESM-2 folder": (as_hugging_face_esm2, lambda path: load_esm2(path, CPU)),
    "DNABERT-S": (as_dnabert_s, lambda path: load_dnabert_s(path, CPU)),
}


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("where", HIDDEN)
def test_a_hidden_command_is_refused_by_name_and_does_not_run(
    kind: str, where: str, tmp_path: Path, dnabert_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touched = tmp_path / "it ran".replace(" ", "_")
    make, load = READERS[kind]
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(dnabert_folder / name, tmp_path)
    given, file = make(HIDDEN[where](Command(touched)), tmp_path, monkeypatch)
    with pytest.raises(InputError, match=rf"{file.name}: refused: it names (posix\.system|[\w.]*eval)"):
        load(given)
    assert not touched.exists()
    # A free reader runs it, so the refusal is what kept it out.
    with suppress(TypeError, AttributeError):  # what the object is afterwards does not matter
        torch.load(file, weights_only=False)
    assert touched.exists()


def test_an_index_of_parts_stays_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "model.safetensors.index.json").write_text('{"weight_map": {"w": "../secret"}}')
    with pytest.raises(InputError, match="names a file outside its folder"):
        read_folder(tmp_path / "a")
