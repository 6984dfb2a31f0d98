"""What stands in the output folder: ours is replaced, a stranger's is not, whatever the options."""

import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.faults.conftest import V1, Predict, Reference, published
from virnucpro.cli.entry import Stopped
from virnucpro.cli.main import main
from virnucpro.errors import InputError
from virnucpro.models.model_set import ModelSet
from virnucpro.pipeline import prediction
from virnucpro.pipeline.output import Output, opened
from virnucpro.pipeline.prediction import Options, run_prediction


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of the user's, with what could be in the way of results of a sample `s1`."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def everything(folder: Path) -> dict[str, bytes | str]:
    """Names and contents below a folder; links as what they lead to."""
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else ""
        for path in folder.rglob("*")
    }


def users_folder(out: Path) -> None:
    (out / "s1").mkdir()
    (out / "s1" / "reads.fastq").write_text("precious")


def users_file(out: Path) -> None:
    (out / "s1").write_text("precious")


def link_out(out: Path) -> None:
    users_folder(out.parent)
    (out / "s1").symlink_to("../s1")


def dangling_link(out: Path) -> None:
    (out / "s1").symlink_to("../nowhere")


def users_report(out: Path) -> None:
    (out / "report.html").write_text("<html>precious</html>")


def users_summary(out: Path) -> None:
    (out / "summary.tsv").write_text("sample\tmine\n")


def users_run_info(out: Path) -> None:
    (out / "pipeline_info").mkdir()
    (out / "pipeline_info" / "run_info.json").write_text('{"versions": {"other": 1}}')


def report_in_a_folder(out: Path) -> None:
    (out / "report.html").mkdir()


def info_link(out: Path) -> None:
    (out.parent / "elsewhere").mkdir()
    (out / "pipeline_info").symlink_to("../elsewhere")


def unfinished_link(out: Path) -> None:
    (out.parent / "elsewhere").mkdir()
    (out / ".s1.unfinished").symlink_to("../elsewhere")


def unfinished_file(out: Path) -> None:
    (out / ".s1.unfinished").write_text("precious")


def mark_of_another(out: Path) -> None:
    users_folder(out)
    (out / "s1" / ".virnucpro").write_text('{"virnucpro": "results", "sample": "s2"}')


def file_among_ours(out: Path) -> None:
    users_folder(out)
    (out / "s1" / ".virnucpro").write_text('{"virnucpro": "results", "sample": "s1"}')


def link_among_ours(out: Path) -> None:
    (out / "s1" / "intermediate").mkdir(parents=True)
    (out.parent / "elsewhere").mkdir()
    (out / "s1" / ".virnucpro").write_text('{"virnucpro": "results", "sample": "s1"}')
    (out / "s1" / "intermediate" / "merged").symlink_to("../../../elsewhere")


def other_samples(out: Path) -> None:
    (out / "s2").mkdir()
    (out / "s2" / ".virnucpro").write_text('{"virnucpro": "results", "sample": "s2"}')


IN_THE_WAY = [
    *(users_folder, users_file, link_out, dangling_link, users_report, users_summary, users_run_info),
    *(report_in_a_folder, info_link, unfinished_link, unfinished_file, mark_of_another, file_among_ours),
    *(link_among_ours, other_samples),
]


@pytest.mark.parametrize("put", IN_THE_WAY, ids=lambda put: str(put.__name__))
def test_a_strangers_files_stay(folder: Path, put: object) -> None:
    put(folder)  # type: ignore[operator]
    before = everything(folder.parent)
    for may_hold_files in (False, True):
        refused = pytest.raises(InputError, match="choose another --output-dir")
        with refused, opened(folder, "s1", "run", may_hold_files):
            pass
        assert everything(folder.parent) == before


@pytest.mark.parametrize("may", [{"force": True}, {"resume": True}], ids=str)
def test_a_users_folder_named_like_the_sample(
    reads: Path, model_set: ModelSet, tmp_path: Path, may: dict[str, bool]
) -> None:
    """`predict data/s1.fa -o data`, with a folder data/s1 of the user's."""
    shutil.copy(reads, tmp_path / "s1.fa")
    users_folder(tmp_path)
    before = everything(tmp_path)
    with pytest.raises(InputError, match="s1: is not virnucpro's, and would be replaced"):
        run_prediction(tmp_path / "s1.fa", tmp_path, model_set, Options(500), **may)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("name", [".fa", "...fa", "..fa", "-x.fa", "pipeline_info.fa", "x\n.fa"])
def test_names_on_the_command_line(
    predict: Predict,
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copy(predict.fasta, tmp_path / name)
    before = everything(tmp_path)
    for options in (["-o", str(tmp_path / "out"), "--force"], ["-o", str(tmp_path), "--resume"], []):
        words = ["virnucpro", "predict", "-m", str(predict.models), *options, "--", str(tmp_path / name)]
        monkeypatch.setattr(sys, "argv", words)
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert end.value.code == 2 and said.startswith("Error: ") and "rename the file" in said
        assert everything(tmp_path) == before


def test_own_results_are_replaced_and_neighbours_stay(
    reads: Path, model_set: ModelSet, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("precious")
    (out / "mine").mkdir()
    (out / "mine" / "data").write_text("precious")
    for min_score in (None, 0.99):
        run_prediction(reads, out, model_set, Options(500, min_score=min_score), force=True)
    assert (out / "notes.txt").read_text() == (out / "mine" / "data").read_text() == "precious"
    assert {path.name for path in out.iterdir()} == {
        *("notes.txt", "mine", "reads", "report.html", "summary.tsv", "pipeline_info")
    }
    assert "0.99" in (out / "pipeline_info" / "run_info.json").read_text()


def test_a_second_run_is_refused_and_touches_nothing(
    predict: Predict,
    undisturbed: Reference,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    first = predict.start(out, *V1)
    while not list(out.glob(".*.unfinished/*/journal")) and first.poll() is None:
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGSTOP)  # so that what the second leaves of it can be compared
    try:
        before = everything(out)
        assert ".virnucpro.lock" in before
        for words in (
            *(predict.command(out, *o)[3:] for o in ((), ("--resume",), ("-f",))),
            ["clean", str(out)],
        ):
            monkeypatch.setattr(sys, "argv", ["virnucpro", *words])
            with pytest.raises(SystemExit) as end:
                main()
            said = capsys.readouterr().err.strip().splitlines()[-1]
            assert end.value.code == 75
            assert f"{out}: another run is at work here (process {first.pid} on " in said
        assert everything(out) == before
    finally:
        os.kill(first.pid, signal.SIGCONT)
    assert first.wait(timeout=120) == 0
    assert published(out) == undisturbed(V1).files


def test_a_plain_start_leaves_unfinished_work_alone_and_says_so(
    reads: Path,
    model_set: ModelSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Only a finished run removes it, or `virnucpro clean`."""
    out = tmp_path / "out"
    for number in (1, 2):
        with monkeypatch.context() as patch, pytest.raises(Stopped):
            patch.setattr(prediction, "merge_pair", lambda *_: (_ for _ in ()).throw(Stopped(15)))
            run_prediction(reads, out, model_set, Options(500))
        assert len(list(out.glob(".reads.unfinished/*-*/journal"))) == number
    caplog.clear()
    run_prediction(reads, out, model_set, Options(500, min_score=0.5))
    first, second = sorted(out.glob(".reads.unfinished/*"))
    said = [
        line for line in caplog.messages if "unfinished work of another input, model set or options: " in line
    ]
    assert len(said) == 2 and f"{first} (" in said[0]
    assert re.search(r" MB, \d min old\); virnucpro clean ", said[0])
    monkeypatch.setattr(sys, "argv", ["virnucpro", "clean", str(out)])
    shutil.copytree(second, out / ".reads.unfinished" / "mine")
    (out / ".reads.unfinished" / "mine" / ".virnucpro").unlink()
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code and capsys.readouterr().out.count("removed ") == 2
    assert [path.name for path in out.glob(".reads.unfinished/*")] == ["mine"]
    assert (out / "reads" / "reads_contigs.tsv").exists()


def test_an_error_costs_no_work(
    reads: Path, model_set: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bad input that is found late, and a wrong option on --resume, leave all that was done."""
    out = tmp_path / "out"
    options = Options(500, split_size=4)
    with monkeypatch.context() as patch, pytest.raises(InputError):
        patch.setattr(prediction, "consensus", lambda *_: (_ for _ in ()).throw(InputError("late")))
        run_prediction(reads, out, model_set, options)
    before = everything(out)
    assert sum(name.endswith("_merged.pt") for name in before) > 1
    with pytest.raises(InputError, match="allows"):
        run_prediction(reads, out, model_set, Options(500, 4, precision="fp8"), resume=True)
    assert everything(out) == before
    monkeypatch.setattr(prediction, "embed_nucleotide_files", pytest.fail)
    monkeypatch.setattr(prediction, "embed_protein_files", None)
    monkeypatch.setattr(prediction, "merge_pair", None)
    monkeypatch.setattr(
        prediction, "embed_per_file", lambda *given, **_: given[2] == [] or pytest.fail("again")
    )
    run_prediction(reads, out, model_set, options, resume=True)
    assert (out / "reads" / "reads_contigs.tsv").exists() and not list(out.glob(".*"))


@pytest.mark.parametrize("use_v2", [False, True])
def test_a_stage_whose_result_is_whole_is_not_run_again(
    reads: Path, model_set: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use_v2: bool
) -> None:
    """Stopped before each stage in turn, at last before the result appears: no earlier one runs again."""
    esm2 = ("run_multi_gpu_inference", "_stream_h5_to_pt_files") if use_v2 else ()
    stages = ("extract_frames", "embed_per_file", *esm2, "merge_pair", "predict", "publish")

    def stop(*_: object, **__: object) -> None:
        raise Stopped(15)

    def never(*given: object, **_: object) -> None:
        assert given[2:3] == ([],), "called with something to do"

    def go_on(place: int) -> None:
        """Run what is left up to the stage in that place."""
        with monkeypatch.context() as patch:
            for stage in stages[: max(place - 1, 0)]:
                patch.setattr(prediction, stage, never)
            if place < len(stages):
                patch.setattr(Output if stages[place] == "publish" else prediction, stages[place], stop)
            run_prediction(
                reads, tmp_path / "out", model_set, Options(500, split_size=4, device="cpu"),
                resume=True, use_v2_architecture=use_v2,
            )  # fmt: skip

    for place in range(len(stages)):
        with pytest.raises(Stopped):
            go_on(place)
    go_on(len(stages))
    assert (tmp_path / "out" / "reads" / "reads_contigs.tsv").exists()


def test_an_input_that_changes_during_the_run_is_an_error(
    reads: Path, model_set: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fasta = tmp_path / "reads.fa"
    shutil.copy(reads, fasta)
    real = prediction.predict

    def meanwhile(*given: object) -> int:
        text = fasta.read_text()
        fasta.write_text(text.replace("A", "C", 1))
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(prediction, "predict", meanwhile)
    with pytest.raises(InputError, match="the input has changed since"):
        run_prediction(fasta, tmp_path / "out", model_set, Options(500))
    assert not (tmp_path / "out" / "reads").exists()
