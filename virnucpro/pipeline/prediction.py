"""The whole data's way in one process tree: what Nextflow does with tasks, for a laptop or a notebook."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from virnucpro import __version__
from virnucpro.calling.consensus import consensus
from virnucpro.calling.merge import merge_pair
from virnucpro.calling.predict import predict
from virnucpro.calling.report import report
from virnucpro.calling.verdict import Judge
from virnucpro.defaults import SPLIT_SIZE
from virnucpro.embedding.device import choose
from virnucpro.embedding.dnabert import embed_nucleotide_files
from virnucpro.embedding.esm2_v1 import embed_protein_files
from virnucpro.embedding.facts import StageFacts
from virnucpro.embedding.h5_to_pt import h5_to_pt
from virnucpro.embedding.per_file import embed_per_file
from virnucpro.embedding.ranks import check
from virnucpro.files import atomic, file_number, sample_name
from virnucpro.journal import Journal
from virnucpro.models.checksums import file_sha256
from virnucpro.models.composition import load_composition
from virnucpro.models.model_set import ModelSet
from virnucpro.pipeline.multi_gpu_inference import model_config_of, run_multi_gpu_inference
from virnucpro.pipeline.output import ABOUT, PUBLISHED, opened
from virnucpro.pipeline.runtime_config import RuntimeConfig
from virnucpro.pipeline.stream import AtRest, sample_file
from virnucpro.sequences.extract import extract_frames
from virnucpro.sequences.fasta import Repeats
from virnucpro.sequences.text import check_file
from virnucpro.threads import allotted, limit

log = logging.getLogger(__name__)
_stream_h5_to_pt_files = h5_to_pt  # the name users of the reference import


@dataclass(frozen=True, slots=True)
class Options:
    """What decides the result of a run; `run_info.json` records it. `expected_length`: bases a window.
    `preset`, `score_all`: None for the default, and for the model set's."""

    expected_length: int
    split_size: int = SPLIT_SIZE
    device: str = "auto"
    precision: str = "auto"
    attention: str = "auto"
    min_score: float | None = None
    preset: str | None = None
    score_all: bool | None = None
    duplicate_ids: Repeats = "error"


def run_prediction(
    input_file: Path,
    output_dir: Path,
    models: ModelSet,
    options: Options,
    *,
    gpus: Sequence[str | None] = (None,),
    threads: int | None = None,
    keep_intermediate: bool = False,
    resume: bool = False,
    force: bool = False,
    force_restart: bool = False,
    rank_timeout: float | None = None,
    use_v2_architecture: bool = False,
    runtime_config: RuntimeConfig | None = None,
) -> None:
    """Predict one file of sequences, or what comes from a pipe, or from standard input (`-`), into
    `output_dir` (layout: docs/outputs of the pipeline, one sample).

    `gpus`: one rank for each id (None: CPU). ESM-2 runs on v2.0 with `use_v2_architecture`, else on v1.0;
    DNABERT-S always on v1.0. With `resume`, what an earlier, unfinished run of the same input, models and
    options left is used, as far as it is whole (with `force_restart` nothing of ESM-2); without, it is left
    alone. With `resume` or `force`, `output_dir` may hold files; a result of the same sample is replaced.
    `threads`: of the CPU, all that this process was given unless said. `rank_timeout`: as in `RuntimeConfig`,
    for all stages. Raises `InputError` for bad input,
    `Busy` when another run is at work in `output_dir`, `RankFailed` (a `RuntimeError`) naming the ranks and
    their logs when a rank fails.
    """
    sample = sample_name(sample_file(input_file))
    choose(options.device, options.precision, allowed=models.precision)  # before any work
    models.verify()
    judge = Judge.of(models, options.score_all, options.preset, options.min_score)
    options = replace(options, score_all=judge.score_all)
    if models.notice:
        log.info("%s", models.notice)
    log.info("Calls: %s", judge.facts()["rule"])
    architecture = "v2.0" if use_v2_architecture else "v1.0"
    config = replace(
        runtime_config or RuntimeConfig(threads=threads or allotted(), force_restart=force_restart),
        rank_timeout=rank_timeout,
    )
    given = AtRest(input_file, output_dir)
    run = _run_key(given.path, models, options, architecture)
    limit(config.threads)
    with opened(output_dir, sample, run, may_hold_files=resume or force) as output:
        if resume and output.finished(keep_intermediate):
            log.info("already finished: this input with these models and options")
        else:
            work = output.attempt(resume)
            input_file = given.kept_in(work)
            try:
                made = _Work(work, sample, input_file, models, options, judge, architecture, gpus, config)
                made.make(keep_intermediate)
            finally:
                output.discard_if_nothing_was_done(work)
            output.publish(work, keep_intermediate)
        output.finish()
    log.info("Report: %s", output_dir / "report.html")


def _run_key(input_file: Path, models: ModelSet, options: Options, architecture: str) -> str:
    """Names an unfinished run by all that its intermediate files depend on: none is taken for another's."""
    check_file(input_file)
    files = [file_sha256(path) for path in (input_file, models.composition, models.calibration)]
    depends = [__version__, *files, models.manifest["files"], asdict(options), architecture]
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Keep:
    """Keeps a file that a stage has finished, and its facts, in the journal. Any process may do so."""

    work: Path

    def __call__(self, path: Path, facts: StageFacts) -> None:
        beside = self.work / "facts" / f"{path.stem}.json"
        facts.write(beside)
        journal = Journal(self.work)
        journal.enter(path.name, [path])
        journal.enter(beside.name, [beside])


class _Work:
    """One attempt's folder: what it lacks is made, what the journal says is whole is not made again.

    `result/` becomes the sample's folder; `result/intermediate/` holds what --keep-intermediate keeps.
    """

    def __init__(
        self,
        folder: Path,
        sample: str,
        input_file: Path,
        models: ModelSet,
        options: Options,
        judge: Judge,
        architecture: str,
        gpus: Sequence[str | None],
        config: RuntimeConfig,
    ) -> None:
        self.folder, self.sample, self.input_file = folder, sample, input_file
        self.models, self.options, self.judge, self.architecture = models, options, judge, architecture
        self.gpus, self.config = gpus, config
        self.journal, self.keep = Journal(folder), _Keep(folder)
        self.result, self.tables = folder / "result", folder / "tables"
        self.inner = self.result / "intermediate"
        self.embeddings = self.inner / "embeddings.h5"

    def make(self, keep_intermediate: bool) -> None:
        """Make what is not whole: the results and the report, and all files on the way with
        `keep_intermediate`; else only those that something still to be made is made from."""
        again = self.config.force_restart
        if self.journal.whole("result") and not (keep_intermediate or again):
            return
        if (self.folder / "intermediate").exists() and not self.inner.exists():
            (self.folder / "intermediate").rename(self.inner)  # a kill in the middle of publishing
        fastas = self._frames()
        merged = {fasta: self.inner / "merged" / f"{fasta.stem}_merged.pt" for fasta in fastas}
        unmerged = fastas if again else self._missing(merged)
        wanted = fastas if keep_intermediate else unmerged
        nucleotide = self._nucleotides(wanted)
        protein = self._proteins(wanted, nucleotide, keep_intermediate)
        for fasta in unmerged:
            merge_pair(nucleotide[fasta], protein[fasta], merged[fasta])
            self.journal.enter(merged[fasta].name, [merged[fasta]])
        if again or not self.journal.whole("result"):
            self._call([*merged.values()])

    def _frames(self) -> list[Path]:
        """The files of nucleotide frames, in order of their N; those of proteins have the same names."""
        sample, length = self.sample, self.options.expected_length
        files = self.journal.whole("frames")
        if files is None:
            size, threads = self.options.split_size, self.config.threads
            extract_frames(
                self.input_file,
                self.inner,
                sample,
                length,
                size,
                self.tables,
                threads,
                self.options.duplicate_ids,
            )
            whole = (f"{sample}_chunked{length}.fa", f"{sample}_identified_*", "*/output_*.fa")
            files = [path for pattern in whole for path in self.inner.glob(pattern)]
            self.journal.enter("frames", [*files, *self.tables.iterdir()])
        nucleotide = (path for path in files if path.parent == self.inner / "nucleotide")
        return sorted(nucleotide, key=file_number)

    def _nucleotides(self, fastas: Sequence[Path]) -> dict[Path, Path]:
        files = {fasta: fasta.with_name(f"{fasta.stem}_DNABERT_S.pt") for fasta in fastas}
        todo = self._missing(files)
        compute = choose(self.options.device, self.options.precision, allowed=self.models.precision)
        log.info("DNABERT-S v1.0: %s of %s files to embed (%s)", len(todo), len(fastas), compute.describe())
        embed_files = partial(embed_nucleotide_files, attention=self.options.attention)
        embed_per_file(
            embed_files, self.models.dnabert_s, todo, compute,
            gpus=self.gpus, threads=self.config.threads, logs=self.folder / "logs" / "DNABERT-S",
            finished=self.keep, patience=self.config.rank_timeout,
        )  # fmt: skip
        return files

    def _proteins(
        self, fastas: Sequence[Path], nucleotide: dict[Path, Path], keep_intermediate: bool
    ) -> dict[Path, Path]:
        files = {fasta: self.inner / "protein" / f"{fasta.stem}_ESM.pt" for fasta in fastas}
        todo = list(fastas) if self.config.force_restart else self._missing(files)
        if self.architecture == "v1.0":
            self._embed_proteins_v1(todo)
        elif todo or (keep_intermediate and not self.journal.whole(self.embeddings.name)):
            self._embed_proteins_v2()
            if todo:
                features = [nucleotide[fasta] for fasta in todo]
                for path in _stream_h5_to_pt_files(self.embeddings, self.inner / "protein", features):
                    self.journal.enter(path.name, [path])
        return files

    def _embed_proteins_v1(self, todo: Sequence[Path]) -> None:
        compute = choose(self.options.device, self.options.precision, allowed=self.models.precision)
        log.info("ESM-2 v1.0: %s files to embed (%s)", len(todo), compute.describe())
        embed_per_file(
            embed_protein_files, self.models.esm2, [self._protein(fasta) for fasta in todo], compute,
            gpus=self.gpus, threads=self.config.threads, logs=self.folder / "logs" / "ESM-2",
            finished=self.keep, patience=self.config.rank_timeout,
        )  # fmt: skip

    def _embed_proteins_v2(self) -> None:
        if self.journal.whole(self.embeddings.name) and not self.config.force_restart:
            return
        options, allowed = self.options, self.models.precision
        compute = choose(options.device, options.precision, half_on_gpu=True, allowed=allowed)
        _, failed = run_multi_gpu_inference(
            fasta_files=sorted((self.inner / "protein").glob("output_*.fa"), key=file_number),
            output_dir=self.folder,
            model_config=model_config_of(self.models, compute, options.attention),
            world_size=len(self.gpus),
            runtime_config=self.config,
            gpus=self.gpus,
            outputs=[self.embeddings],
            whole=partial(self.keep, self.embeddings),
        )
        check(failed, len(self.gpus), "ESM-2 v2.0", self.folder / "logs")

    def _call(self, merged: Sequence[Path]) -> None:
        """From scores to calls to the report."""
        scores = self.result / "prediction_results.txt"
        predict(merged, self.models.classifier, scores)
        records, layout = (self.tables / f"{self.sample}_{name}.tsv" for name in ("records", "layout"))
        summary = self.folder / "summary.json"
        consensus(
            self.sample, self.input_file, records, layout, scores, self.result,
            load_composition(self.models.composition), self.judge, self.models.notice,
            self.options.duplicate_ids,
        ).write(summary)  # fmt: skip
        options = self.folder / "options.json"
        with atomic(options) as temporary:
            temporary.write_text(json.dumps({**asdict(self.options), "architecture": self.architecture}))
        facts = []
        for path in sorted((self.folder / "facts").glob("*.json")):
            if self.journal.whole(path.name):
                facts.append(path)
            else:
                log.warning("%s: damaged, so the report says nothing of its stage", path)
        report(str(self.models.directory), options, [summary, *facts], self.folder)
        made = [self.result / name.format(self.sample) for name in PUBLISHED]
        self.journal.enter("result", [*made, *(self.folder / Path(name).name for name in ABOUT)])

    def _missing(self, files: dict[Path, Path]) -> list[Path]:
        """The keys whose file is not whole."""
        return [fasta for fasta, path in files.items() if not self.journal.whole(path.name)]

    def _protein(self, fasta: Path) -> Path:
        return self.inner / "protein" / fasta.name
