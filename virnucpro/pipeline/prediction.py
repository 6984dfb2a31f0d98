"""The whole data's way in one process tree: what Nextflow does with tasks, for a laptop or a notebook."""

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from virnucpro import __version__
from virnucpro.calling.consensus import consensus
from virnucpro.calling.merge import merge
from virnucpro.calling.predict import predict
from virnucpro.calling.report import report
from virnucpro.defaults import SPLIT_SIZE
from virnucpro.embedding.device import choose
from virnucpro.embedding.dnabert import embed_nucleotide_files
from virnucpro.embedding.engine import Esm2, embed_proteins
from virnucpro.embedding.esm2_v1 import embed_protein_files
from virnucpro.embedding.h5_to_pt import h5_to_pt
from virnucpro.embedding.per_file import embed_per_file
from virnucpro.embedding.ranks import check
from virnucpro.errors import InputError
from virnucpro.files import atomic, file_number, sample_name
from virnucpro.models.checksums import file_sha256
from virnucpro.models.model_set import ModelSet
from virnucpro.pipeline.runtime_config import RuntimeConfig
from virnucpro.sequences.extract import extract_frames

log = logging.getLogger(__name__)
_stream_h5_to_pt_files = h5_to_pt  # the name users of the reference import


@dataclass(frozen=True, slots=True)
class Options:
    """What decides the result of a run; `run_info.json` records it. `expected_length`: bases a window."""

    expected_length: int
    split_size: int = SPLIT_SIZE
    device: str = "auto"
    precision: str = "auto"
    attention: str = "auto"
    min_score: float | None = None


def run_prediction(
    input_file: Path,
    output_dir: Path,
    models: ModelSet,
    options: Options,
    *,
    gpus: Sequence[str | None] = (None,),
    threads: int = 1,
    keep_intermediate: bool = False,
    resume: bool = False,
    force: bool = False,
    use_v2_architecture: bool = False,
    runtime_config: RuntimeConfig | None = None,
) -> None:
    """Predict one FASTA file into `output_dir` (layout: docs/outputs of the pipeline, one sample).

    `gpus`: one rank for each id (None: CPU). ESM-2 runs on v2.0 with `use_v2_architecture`, else on v1.0;
    DNABERT-S always on v1.0. With `resume`, what an earlier, unfinished run of the same input, models and
    options left is used. Raises `InputError` for bad input, `RankFailed` (a `RuntimeError`) naming the ranks
    and their logs when a rank fails.
    """
    sample = sample_name(input_file)
    architecture = "v2.0" if use_v2_architecture else "v1.0"
    config = runtime_config or RuntimeConfig(threads=threads)
    choose(options.device, options.precision, allowed=models.precision)  # before any work
    models.verify()
    work = output_dir / f".{sample}.unfinished" / _run_key(input_file, models, options, architecture)
    _check_output(output_dir, work.parent, may_exist=resume or force)
    if work.exists() and not resume:
        shutil.rmtree(work)
    try:
        if not (
            work / f"{sample}_chunked{options.expected_length}.fa"
        ).exists():  # the last file extraction names
            extract_frames(input_file, work, sample, options.expected_length, options.split_size)
        features = _embed_nucleotides(work, models, options, gpus, threads)
        if use_v2_architecture:
            proteins = _embed_proteins_v2(work, models, options, gpus, config, features)
        else:
            proteins = _embed_proteins_v1(work, models, options, gpus, config)
        results = work / "prediction_results.txt"
        predict(merge([*features, *proteins], work / "merged"), models.classifier, results)
        records, layout = work / f"{sample}_records.tsv", work / f"{sample}_layout.tsv"
        consensus(sample, input_file, records, layout, results, work, options.min_score)
        _report(work, sample, models, {**asdict(options), "architecture": architecture})
    except InputError:
        shutil.rmtree(work.parent, ignore_errors=True)
        if not any(output_dir.iterdir()):
            output_dir.rmdir()
        raise
    _publish(work, output_dir, sample, keep_intermediate)
    shutil.rmtree(work.parent)
    log.info("Report: %s", output_dir / "report.html")


def _check_output(output_dir: Path, unfinished: Path, may_exist: bool) -> None:
    """Refuse a folder that holds something, or cannot be written, before any work is done."""
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output_dir):
            pass
    except OSError as error:
        raise InputError(
            f"{output_dir}: cannot be written ({error.strerror}); choose another --output-dir"
        ) from None
    if not may_exist and any(path != unfinished for path in output_dir.iterdir()):
        raise InputError(
            f"{output_dir}: exists and is not empty; choose another --output-dir, or --force to write into it"
        )


def _run_key(input_file: Path, models: ModelSet, options: Options, architecture: str) -> str:
    """Names an unfinished run by all that its intermediate files depend on: none is taken for another's."""
    if not input_file.is_file():
        raise InputError(f"{input_file}: {'is a folder' if input_file.is_dir() else 'no such file'}")
    depends = [__version__, file_sha256(input_file), models.manifest["files"], asdict(options), architecture]
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:16]


def _embed_nucleotides(
    work: Path, models: ModelSet, options: Options, gpus: Sequence[str | None], threads: int
) -> list[Path]:
    fastas, todo = _files_to_do(work / "nucleotide", "DNABERT_S")
    compute = choose(options.device, options.precision, allowed=models.precision)
    log.info("DNABERT-S v1.0: %s of %s files to embed (%s)", len(todo), len(fastas), compute.describe())
    embed_per_file(
        embed_nucleotide_files, models.dnabert_s, todo, work / "nucleotide", compute,
        gpus=gpus, threads=threads, logs=work / "logs" / "DNABERT-S",
    )  # fmt: skip
    return _results(fastas, "DNABERT_S")


def _embed_proteins_v1(
    work: Path, models: ModelSet, options: Options, gpus: Sequence[str | None], config: RuntimeConfig
) -> list[Path]:
    fastas, todo = _files_to_do(work / "protein", "ESM")
    todo = fastas if config.force_restart else todo
    compute = choose(options.device, options.precision, allowed=models.precision)
    log.info("ESM-2 v1.0: %s of %s files to embed (%s)", len(todo), len(fastas), compute.describe())
    embed_per_file(
        embed_protein_files, models.esm2, todo, work / "protein", compute,
        gpus=gpus, threads=config.threads, logs=work / "logs" / "ESM-2",
    )  # fmt: skip
    return _results(fastas, "ESM")


def _embed_proteins_v2(
    work: Path,
    models: ModelSet,
    options: Options,
    gpus: Sequence[str | None],
    config: RuntimeConfig,
    features: Sequence[Path],
) -> list[Path]:
    fastas, _ = _files_to_do(work / "protein", "ESM")
    compute = choose(options.device, options.precision, half_on_gpu=True, allowed=models.precision)
    model = Esm2(models.name, models.esm2, models.sha256(models.esm2), compute, options.attention)
    embeddings = work / "embeddings.h5"
    facts, failures = embed_proteins({embeddings: fastas}, model, gpus, config, work)
    check(failures, len(gpus), "ESM-2 v2.0")
    facts.write(work / "esm2.json")
    return h5_to_pt(embeddings, work / "protein", features)


def _files_to_do(folder: Path, kind: str) -> tuple[list[Path], list[Path]]:
    """The folder's `output_N.fa` in order of N, and those of them without a result yet."""
    fastas = sorted(folder.glob("output_*.fa"), key=file_number)
    return fastas, [fasta for fasta in fastas if not _results([fasta], kind)[0].exists()]


def _results(fastas: Sequence[Path], kind: str) -> list[Path]:
    return [fasta.with_name(f"{fasta.stem}_{kind}.pt") for fasta in fastas]


def _report(work: Path, sample: str, models: ModelSet, options: dict[str, object]) -> None:
    options_file = work / "options.json"
    options_file.write_text(json.dumps(options))
    facts = [work / f"{sample}_summary.json", *sorted(work.glob("*/output_*.json")), *work.glob("esm2.json")]
    report(str(models.directory), options_file, facts, work)


def _publish(work: Path, output_dir: Path, sample: str, keep_intermediate: bool) -> None:
    """Move finished files to their places; the sample's folder appears at once and whole."""
    target = output_dir / sample
    with atomic(target) as folder:
        intermediate = folder / "intermediate"
        intermediate.mkdir(parents=True)
        for name in ("prediction_results.txt", "prediction_results_highestscore.csv"):
            (work / name).rename(folder / name)
        for name in ("contigs.tsv", "windows.tsv", "viral.fa", "mqc.json"):
            (work / f"{sample}_{name}").rename(folder / f"{sample}_{name}")
        if keep_intermediate:
            for pattern in (
                f"{sample}_chunked*",
                f"{sample}_identified*",
                "nucleotide",
                "protein",
                "merged",
                "*.h5",
            ):
                for path in work.glob(pattern):
                    path.rename(intermediate / path.name)
            for facts in intermediate.glob("*/*.json"):
                facts.unlink()
        else:
            intermediate.rmdir()
    (output_dir / "pipeline_info").mkdir(exist_ok=True)
    (work / "run_info.json").replace(output_dir / "pipeline_info" / "run_info.json")
    (work / "report.html").replace(output_dir / "report.html")
