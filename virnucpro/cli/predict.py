"""`virnucpro predict`: one file of sequences to calls."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from virnucpro.cli.options import TokenBudget
from virnucpro.defaults import (
    ATTENTION,
    DEVICES,
    DUPLICATE_IDS,
    MODEL_SET,
    PRECISIONS,
    PRESET,
    PRESETS,
    SPLIT_SIZE,
)

if TYPE_CHECKING:
    from virnucpro.sequences.fasta import Repeats

log = logging.getLogger(__name__)


@click.command()
@click.argument("fasta", type=click.Path(path_type=Path))
@click.option("--models", "-m", default=MODEL_SET, show_default=True, help="Model set, by name or folder.")
@click.option("--output-dir", "-o", type=click.Path(path_type=Path), help="[default: <sample>_predictions]")
@click.option(
    "--expected-length", "-e", type=click.IntRange(3), help="Bases a window.  [default: the model set's]"
)
@click.option(
    "--preset",
    type=click.Choice(PRESETS),
    help=f"Cut-offs of the model set's calibration.  [default: {PRESET}, where calibrated scores decide]",
)
@click.option(
    "--min-score", type=click.FloatRange(0, 1), help="One cut-off on the virus score, for a preset's."
)
@click.option(
    "--score-all/--no-score-all",
    default=None,
    help="Let the calibrated score decide, also without an open frame; or the original's rule, from open "
    "frames alone.  [default: the model set's]",
)
@click.option("--parallel", is_flag=True, help="ESM-2 on v2.0: packed batches, one rank a device.")
@click.option("--v1-fallback", is_flag=True, help="ESM-2 back on v1.0, also with --parallel.")
@click.option("--device", "-d", type=click.Choice(DEVICES), default="auto", show_default=True)
@click.option(
    "--gpus",
    help="With --parallel: the GPUs to use, and no other, such as 0,1 [default: all visible]; "
    "with --device cpu, how many CPU ranks [default: 1].",
)
@click.option("--precision", type=click.Choice(PRECISIONS), default="auto", show_default=True)
@click.option(
    "--attention",
    type=click.Choice(ATTENTION),
    default="auto",
    show_default=True,
    help="Of ESM-2 v2.0, and of DNABERT-S where it can.",
)
@click.option(
    "--token-budget", type=TokenBudget(), default="auto", show_default=True, help="ESM-2 v2.0 tokens a batch."
)
@click.option(
    "--split-size", type=click.IntRange(1), default=SPLIT_SIZE, show_default=True, help="Frames a file."
)
@click.option(
    "--threads", "-t", type=click.IntRange(1), help="CPU threads.  [default: all this process may use]"
)
@click.option(
    "--rank-timeout",
    type=click.IntRange(1),
    metavar="SECONDS",
    help="End the stage when a rank gets nowhere for so long.  [default: 900 on GPUs, 3600 on CPU]",
)
@click.option(
    "--duplicate-ids",
    type=click.Choice(DUPLICATE_IDS),
    default="error",
    show_default=True,
    help="Two records of one id: an error, or told apart by their number.",
)
@click.option("--resume", is_flag=True, help="Go on from what an unfinished run of the same left.")
@click.option(
    "--force-resume", is_flag=True, help="Like --resume, but throw away what it left of ESM-2 and redo that."
)
@click.option(
    "--force", "-f", is_flag=True, help="Write into a folder that is not empty; results there are replaced."
)
@click.option("--keep-intermediate", "-k", is_flag=True, help="Keep windows, frames and embeddings too.")
def predict(
    fasta: Path,
    models: str,
    output_dir: Path | None,
    expected_length: int | None,
    preset: str | None,
    min_score: float | None,
    score_all: bool | None,
    parallel: bool,
    v1_fallback: bool,
    device: str,
    gpus: str | None,
    precision: str,
    attention: str,
    token_budget: int | None,
    split_size: int,
    threads: int | None,
    rank_timeout: int | None,
    duplicate_ids: "Repeats",
    resume: bool,
    force_resume: bool,
    force: bool,
    keep_intermediate: bool,
) -> None:
    """Predict which sequences of FASTA are viral: a file of FASTA or FASTQ, plain or packed by gzip, bgzip,
    bzip2, xz or zstd, of BAM or CRAM; a pipe, or - for standard input.

    Without --parallel everything runs on v1.0, on one device.
    """
    from virnucpro.files import sample_name
    from virnucpro.models.model_set import ModelSet
    from virnucpro.pipeline import prediction
    from virnucpro.pipeline.runtime_config import RuntimeConfig
    from virnucpro.pipeline.stream import sample_file
    from virnucpro.threads import allotted

    use_v2 = parallel and not v1_fallback
    _log_architecture(use_v2, v1_fallback)
    model_set = ModelSet.open(models)
    resume = resume or force_resume
    threads = threads or allotted()
    prediction.run_prediction(
        fasta,
        output_dir or Path(f"{sample_name(sample_file(fasta))}_predictions"),
        model_set,
        prediction.Options(
            expected_length or model_set.window_length,
            split_size,
            device,
            precision,
            attention,
            min_score,
            preset,
            score_all,
            duplicate_ids,
        ),
        gpus=_ranks(parallel, device, gpus),
        threads=threads,
        keep_intermediate=keep_intermediate,
        resume=resume,
        force=force,
        use_v2_architecture=use_v2,
        force_restart=force_resume,
        rank_timeout=rank_timeout,
        runtime_config=RuntimeConfig(resume, None, force_resume, token_budget, threads) if use_v2 else None,
    )


def _log_architecture(use_v2: bool, v1_fallback: bool) -> None:
    if use_v2:
        log.info("Architecture: v2.0 hybrid")
        log.info("  ESM-2: v2.0 (packed batches, one rank a device)")
        log.info("  DNABERT-S: v1.0 (one task per file)")
    else:
        log.info("Architecture: v1.0 (%s)", "--v1-fallback" if v1_fallback else "without --parallel")


def _ranks(parallel: bool, device: str, gpus: str | None) -> Sequence[str | None]:
    """The ids of the GPUs to use, one rank each; None stands for a CPU rank."""
    from virnucpro.embedding.device import choose, select_gpus, visible_gpus
    from virnucpro.errors import InputError

    if gpus and not parallel:
        raise InputError("--gpus needs --parallel; without it one device is used")
    if device == "cpu" and gpus:
        if not gpus.isdecimal() or int(gpus) < 1:
            raise InputError(f"--gpus {gpus}: with --device cpu, the number of CPU ranks")
        return [None] * int(gpus)
    if gpus:
        selected = select_gpus(gpus)
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(selected)
        return selected
    if choose(device, "auto").device == "cpu":
        return [None]
    if not parallel and len(visible_gpus()) > 1:
        log.warning(
            "%s GPUs are visible and one is used; add --parallel to use them all", len(visible_gpus())
        )
    return visible_gpus() if parallel else visible_gpus()[:1]
