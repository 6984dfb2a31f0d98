"""One bit of unfinished work turned over before --resume: repaired, or named; never another result."""

import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SOAK
from tests.faults.conftest import V1, V2, Predict, Reference, published, rounds
from virnucpro.cli.entry import Stopped
from virnucpro.cli.main import main
from virnucpro.pipeline import prediction
from virnucpro.pipeline.output import Output

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(predict: Predict, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """`virnucpro predict` in this process: its exit code and what it said; no traceback."""

    def program(output: Path, *options: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["virnucpro", *predict.command(output, *options)[3:]])
        with pytest.raises(SystemExit) as end:
            main()
        said = capfd.readouterr().err
        assert "Traceback" not in said, said
        assert isinstance(end.value.code, int)
        return end.value.code, said

    return program


Unfinished = list[tuple[tuple[str, ...], Path]]


@pytest.fixture(scope="module")
def unfinished(predict: Predict, tmp_path_factory: pytest.TempPathFactory) -> Unfinished:
    """Output folders of runs that were stopped: before publishing, before calling, and, with half of the
    shards' rows, within ESM-2."""

    def stop(*_: object, **__: object) -> None:
        raise Stopped(15)

    real = prediction.run_multi_gpu_inference

    def within_esm2(**given: Any) -> None:
        real(**{**given, "whole": stop})

    folders = []
    for options, where, name, how in (
        (V1, Output, "publish", stop),
        (V1, prediction, "predict", stop),
        (V2, Output, "publish", stop),
        (V2, prediction, "run_multi_gpu_inference", within_esm2),
    ):
        output = tmp_path_factory.mktemp("stopped") / "out"
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
            patch.setattr(where, name, how)
            patch.setattr(sys, "argv", ["virnucpro", *predict.command(output, *options)[3:]])
            main()
        assert end.value.code == 128 + 15
        folders.append((options, output))
    (rows,) = folders[-1][1].rglob("*.rows")
    with rows.open("r+b") as file:
        file.truncate(rows.stat().st_size // 2)
    return folders


def test_a_bit_turned_over_changes_no_result(
    run: Run,
    unfinished: Unfinished,
    undisturbed: Reference,
    tmp_path: Path,
    luck: random.Random,
) -> None:
    for number in range(rounds(16, 1000)):
        # The slow ones, with ranks, in one of eight.
        options, stopped = luck.choice(unfinished[2:] if number % 8 == 0 else unfinished[:2])
        output = Path(shutil.copytree(stopped, tmp_path / "out"))
        file = luck.choice(
            [path for path in sorted(output.rglob("*")) if path.stat().st_size and path.is_file()]
        )
        content = bytearray(file.read_bytes())
        place = luck.randrange(len(content))
        content[place] ^= 1 << luck.randrange(8)
        file.write_bytes(content)
        code, said = run(output, *options, "--resume")
        what = f"{file}, byte {place}: {said}"
        if code == 0:
            assert published(output) == undisturbed(options).files, what
            for left in output.glob(".*.unfinished/*"):
                assert f"{left}: its mark is damaged" in said, what
        else:
            assert code == 2 and file.name in said, what
        shutil.rmtree(output)


def test_every_file_of_unfinished_work_is_known_or_made_anew(
    run: Run,
    unfinished: Unfinished,
    undisturbed: Reference,
    tmp_path: Path,
) -> None:
    """Each file cut in half, and each gone, of a run stopped just before its result appears."""
    options, stopped = unfinished[0]
    files = [path.relative_to(stopped) for path in sorted(stopped.rglob("*")) if path.is_file()]
    for name in files if SOAK else files[::4]:
        for cut in (True, False):
            output = Path(shutil.copytree(stopped, tmp_path / "out"))
            path = output / name
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]) if cut else path.unlink()
            code, said = run(output, *options, "--resume")
            assert code == 0, f"{name}: {said}"
            assert published(output) == undisturbed(options).files, name
            shutil.rmtree(output)


def test_a_damaged_journal_loses_only_what_it_says_there(
    run: Run, unfinished: Unfinished, undisturbed: Reference, tmp_path: Path
) -> None:
    options, whole = unfinished[0]
    stopped = Path(shutil.copytree(whole, tmp_path / "out"))
    (journal,) = stopped.rglob("journal")
    lines = journal.read_bytes().split(b"\n")
    place = next(n for n, line in enumerate(lines) if b"output_1_DNABERT_S.pt" in line)
    lines[place] = lines[place].replace(b"output_1", b"output_9")
    journal.write_bytes(b"\n".join(lines))
    code, said = run(stopped, *options, "--resume")
    assert code == 0 and "DNABERT-S v1.0: 1 of " in said
    assert published(stopped) == undisturbed(options).files
