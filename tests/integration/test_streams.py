"""Input through pipes: the calls of the same sequences in a file, also when an unfinished run goes on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from backports import zstd

from virnucpro.errors import InputError
from virnucpro.models.model_set import ModelSet
from virnucpro.pipeline.stream import AtRest, is_stream, sample_file
from virnucpro.sequences.fasta import read_fasta

ROOT = Path(__file__).parents[2]


def predict(words: str, model_set: ModelSet, folder: Path, output: str) -> None:
    command = f"{words} -m '{model_set.directory}' -o {output} -t 1 -d cpu"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHON": sys.executable}
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_pipes_give_the_calls_of_files(reads: Path, model_set: ModelSet, tmp_path: Path) -> None:
    rows = [(record.header, record.sequence) for record in read_fasta(reads)]
    fastq = "".join(f"@{header}\n{letters}\n+\n{'I' * len(letters)}\n" for header, letters in rows)
    (tmp_path / "reads.fq.zst").write_bytes(zstd.compress(fastq.encode()))
    predict(f"$PYTHON -m virnucpro predict '{reads}'", model_set, tmp_path, "file")
    predict("cat reads.fq.zst | $PYTHON -m virnucpro predict -", model_set, tmp_path, "stdin")
    predict("$PYTHON -m virnucpro predict <(cat reads.fq.zst)", model_set, tmp_path, "pipe")
    for output in ("stdin", "pipe"):
        for name in ("prediction_results.txt", "{}_contigs.tsv", "{}_viral.fa"):
            piped = tmp_path / output / "stdin" / name.format("stdin")
            filed = tmp_path / "file" / reads.stem / name.format(reads.stem)
            assert piped.read_bytes() == filed.read_bytes()
        assert not [*(tmp_path / output).glob(".*.unfinished")]


def test_a_stream_is_kept_in_the_folder_of_its_run(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, b">a\nACGT\n")
    os.close(writer)
    path = Path(f"/dev/fd/{reader}")
    assert is_stream(path) and sample_file(path) == Path("stdin")
    given = AtRest(path, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not [*tmp_path.iterdir()]
    kept = given.kept_in(tmp_path / "work")
    assert kept == tmp_path / "work" / "input" / "stdin" and kept.read_bytes() == b">a\nACGT\n"
    assert [record.id for record in read_fasta(kept)] == ["a"] == [r.id for r in read_fasta(given.path)]
    os.close(reader)


def test_files_stay_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "in.fa").write_text(">a\nACGT\n")
    given = AtRest(tmp_path / "in.fa", tmp_path / "out")
    assert given.path == given.kept_in(tmp_path / "work") == tmp_path / "in.fa" == sample_file(given.path)
    assert AtRest(tmp_path / "none", tmp_path).path == tmp_path / "none"


def test_a_terminal_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "isatty", lambda _: True)
    with pytest.raises(InputError, match="standard input is a terminal"):
        AtRest(Path("-"), tmp_path)
