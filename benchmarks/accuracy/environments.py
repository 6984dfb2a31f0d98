"""Environments of the peers' own, kept in a cache folder; running a program, with its time and its end."""

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.accuracy.peers import Peer

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "virnucpro" / "peers"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
_ALONE = {**dict.fromkeys(_THREADS, "1"), "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}


@dataclass(frozen=True)
class Ended:
    """How a program ended: `words` is empty, or the last line it said before it failed."""

    words: str
    cpu_seconds: float
    seconds: float


def prepare(peer: Peer, cache: Path, log: Path) -> tuple[Path, Ended]:
    """The folder of the peer's programs, its environment made by uv where it is not there yet."""
    environment = cache / peer.name.split(" ")[0].lower()
    stamp, wanted = environment / ".complete", "\n".join(peer.requirements) + "\n"
    if stamp.exists() and stamp.read_text() == wanted:
        return environment / "bin", Ended("", 0.0, 0.0)
    cache.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(environment, ignore_errors=True)
    uv = [sys.executable, "-m", "uv"]
    for command in (
        [*uv, "venv", "--quiet", "--python", sys.executable, str(environment)],
        [*uv, "pip", "install", "--quiet", "--python", str(environment / "bin/python"), *peer.requirements],
    ):
        ended = run(command, log)
        if ended.words:
            return environment / "bin", ended
    stamp.write_text(wanted)
    return environment / "bin", ended


def run_once(command: list[str], depends_on: list[str], out: Path, limit: float) -> Ended:
    """`run`, or how it ended when it last ran with the same command and the same content."""
    key = hashlib.sha256("\0".join([*command, *depends_on]).encode()).hexdigest()
    done = out.with_suffix(".json")
    if done.exists() and (said := json.loads(done.read_text()))["key"] == key:
        return Ended(**said["ended"])
    shutil.rmtree(out, ignore_errors=True)
    ended = run(command, out.with_suffix(".log"), limit)
    done.write_text(json.dumps({"key": key, "ended": asdict(ended)}))
    return ended


def run(command: list[str], log: Path, limit: float | None = None) -> Ended:
    """Run a program on one thread, all it says into `log`; it may fail, and is stopped after `limit` s."""
    log.parent.mkdir(parents=True, exist_ok=True)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    words = ""
    with log.open("w") as out:
        try:
            code = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **_ALONE},
                timeout=limit,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code, words = 0, f"stopped after {limit:g} s"
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if code:
        said = log.read_text(errors="replace").strip().splitlines() or ["no word"]
        words = f"exit {code}: {said[-1].strip()}"
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Ended(words, cpu, time.monotonic() - start)
