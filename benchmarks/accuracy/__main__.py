"""How true the calls are beside those of other tools, on the same labelled fragments, in one table:

    python -m benchmarks.accuracy FRAGMENTS -o FOLDER [--models mini ...] [--tools DeepMicroClass Jaeger ...]

FRAGMENTS is a FASTA of `virnucpro dataset build` (label=, class=, group= in the headers). The peers come from
PyPI into environments of their own (10 GB in `--environments`, made once); nothing of them is part of this
project. Each tool runs once for each bin of length, on one CPU thread. One that fails on a bin has no answer
there, and the table says how it failed. Run again, it takes peers' answers to the same fragments from FOLDER.
Needs the extra `train`. FOLDER gets all tables and figures of `virnucpro evaluate` as well.

Read it with care: the peers were trained on public genomes, which surely include many of those tested here;
virnucpro's models were not. Each peer is run on what it was not made for too: see `made for` in the table.
"""

import argparse
import random
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.accuracy.environments import CACHE, Ended, prepare, run, run_once
from benchmarks.accuracy.peers import PEERS, Calls
from virnucpro.errors import InputError
from virnucpro.sequences.fasta import read_records, write_record
from virnucpro.training.accuracy import EDGES, Evaluation, evaluate, length_bins, metrics
from virnucpro.training.accuracy_figures import write_figures
from virnucpro.training.accuracy_report import interval, percent, table, write_tables
from virnucpro.training.labelled import Call, Label, join, open_frame_rule, read_calls, read_labels

Runs = dict[str, Ended]  # by length


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 2 for wrong input."""
    options = _options(arguments)
    try:
        metrics()
        labels = some(read_labels(options.fragments), options.per_class, options.seed)
        parts = parts_of(options.fragments, labels, options.output)
        calls: dict[str, Calls] = {}
        runs: dict[str, Runs] = {}
        for model in options.models:
            name = f"virnucpro {Path(model).name}"
            calls[name], runs[name] = _ours(model, parts, options.output / name)
        if options.models and (rule := open_frame_rule(labels, next(iter(calls.values())))) is not None:
            calls["open frame = virus"] = rule
        for name in options.tools:
            calls[name], runs[name] = _peer(name, parts, options)
        evaluations = [
            evaluate(name, *join(labels, of_tool), options.resamples, options.seed, options.mix)
            for name, of_tool in calls.items()
        ]
        write_tables(options.output, evaluations, EDGES)
        write_figures(options.output, evaluations, EDGES, "png")
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    page = _page(evaluations, runs, labels, parts)
    (options.output / "comparison.md").write_text(page, encoding="utf-8")
    print(page)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("fragments", type=Path)
    parser.add_argument("--output", "-o", type=Path, required=True)
    parser.add_argument("--models", nargs="*", default=["mini"], help="model sets of ours")
    parser.add_argument("--tools", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--per-class", type=int, help="fragments of each class and length  [default: all]")
    parser.add_argument("--environments", type=Path, default=CACHE)
    parser.add_argument("--limit", type=float, default=3600, help="seconds that a run may take")
    parser.add_argument("--mix", choices=("given", "even"), default="even")
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(arguments)


def some(labels: Mapping[str, Label], per_class: int | None, seed: int) -> dict[str, Label]:
    """At most so many of each class and length, drawn at random; all of them without a number."""
    names = list(labels)
    random.Random(seed).shuffle(names)
    taken: Counter[tuple[str, int | None]] = Counter()
    chosen = set()
    for id in names:
        kind = labels[id].kind, labels[id].length
        taken[kind] += 1
        if per_class is None or taken[kind] <= per_class:
            chosen.add(id)
    return {id: label for id, label in labels.items() if id in chosen}


def parts_of(
    fragments: Path, labels: Mapping[str, Label], output: Path
) -> dict[str, tuple[Path, dict[str, str], int]]:
    """By length: a FASTA with plain ids, the id that each stands for, and the shortest record."""
    ids = list(labels)
    lengths = np.array([label.length for label in labels.values()])
    dna = {record.id: record.dna for record in read_records(fragments)}
    parts = {}
    for length, which in length_bins(lengths, EDGES).items():
        if length == "all":
            continue
        own = {f"s{place}": ids[place] for place in np.flatnonzero(which)}
        path = output / "fragments" / f"{length.replace(' ', '_')}.fa"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as out:
            for plain, id in own.items():
                write_record(out, plain, dna[id])
        parts[length] = (path, own, int(lengths[which].min()))
    return parts


def _ours(model: str, parts: Mapping, output: Path) -> tuple[Calls, Runs]:
    calls: Calls = {}
    runs: Runs = {}
    for length, (fasta, own, _) in parts.items():
        folder = output / fasta.stem
        command = [sys.executable, "-m", "virnucpro", "predict", str(fasta), "-m", model, "-o", str(folder)]
        print(f"virnucpro {model}, {length} ...", file=sys.stderr)
        runs[length] = run([*command, "--threads", "1", "--force"], folder.with_suffix(".log"))
        if runs[length].words:
            raise InputError(f"virnucpro failed: {runs[length].words}; see {folder.with_suffix('.log')}")
        found = read_calls([folder / fasta.stem / f"{fasta.stem}_contigs.tsv"], 0.5)
        calls |= {own[id]: call for id, call in found.items()}
    return calls, runs


def _peer(name: str, parts: Mapping, options: argparse.Namespace) -> tuple[Calls, Runs]:
    peer = PEERS[name]
    calls = {id: Call(float("nan"), False) for _, own, _ in parts.values() for id in own.values()}
    runs: Runs = {}
    folder = options.output / name.split(" ")[0]
    print(f"{name}: environment ...", file=sys.stderr)
    programs, made = prepare(peer, options.environments, folder / "environment.log")
    for length, (fasta, own, shortest) in parts.items():
        print(f"{name}, {length} ...", file=sys.stderr)
        if made.words:
            runs[length] = Ended(f"not installed: {made.words}", 0.0, 0.0)
            continue
        out = folder / fasta.stem
        words = peer.command(fasta.absolute(), out.absolute(), shortest)
        command = [str(programs / words[0]), *words[1:]]
        runs[length] = run_once(command, [*peer.requirements, fasta.read_text()], out, options.limit)
        if not runs[length].words:
            calls |= {own[id]: call for id, call in peer.read(out).items()}
    return calls, runs


def _page(
    evaluations: Sequence[Evaluation], runs: Mapping[str, Runs], labels: Mapping, parts: Mapping
) -> str:
    kinds = list(dict.fromkeys(row.kind for row in evaluations[0].classes))
    viral = {row.kind for row in evaluations[0].classes if row.viral}
    header = ["length", "tool", "F1", "AUROC", *(f"{kind}{' (viral)' * (kind in viral)}" for kind in kinds)]
    rows = []
    for length in parts:
        for one in evaluations:
            row = next(row for row in one.overall if (row.length, row.counted) == (length, "all"))
            shares = {of.kind: percent(of.called) for of in one.classes if of.length == length}
            ended = runs.get(one.tool, {}).get(length)
            rows.append(
                [length, one.tool, interval(row.estimates["f1"], 3), interval(row.estimates["auroc"], 3)]
                + [shares.get(kind, "–") for kind in kinds]
                + [f"{ended.cpu_seconds:.0f}" if ended else "–", ended.words[:80] if ended else ""]
            )
    lines = [f"{len(labels):,} fragments; F1, AUROC and shares called viral with all fragments counted."]
    lines += [__doc__.split("\n\n")[-1].strip()]
    mappings = [
        [peer.name, peer.requirements[0], peer.mapping, peer.made_for]
        for name, peer in PEERS.items()
        if name in runs
    ]
    return "\n\n".join(
        ["# Calls beside those of other tools", *lines, table([*header, "CPU s", "failed"], rows)]
        + [table(["tool", "version", "what counts as viral", "made for"], mappings)] * bool(mappings)
    )


if __name__ == "__main__":
    sys.exit(main())
