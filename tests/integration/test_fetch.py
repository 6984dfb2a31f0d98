"""`virnucpro models fetch` from a hub on loopback, through the hub's own client, as a person would run it."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import EsmConfig, EsmForMaskedLM

from tests.hub import REVISION, Hub
from tests.unit.test_classifier import pickled_original
from virnucpro.embedding.runner import embed
from virnucpro.models.checksums import file_sha256, git_blob
from virnucpro.models.dnabert_s import load_dnabert_s
from virnucpro.models.esm2 import load_esm2
from virnucpro.models.model_set import ModelSet

CPU = torch.device("cpu")
ESM2, DNABERT_S = "lab/esm2_t6_8M", "lab/DNABERT-S"
# The program, with a published set of its own.
PROGRAM = """
import json, sys
from virnucpro.models import fetch, model_set
known = json.loads(sys.argv.pop(1))
fetch.published = model_set.published = lambda: known
from virnucpro.cli.main import main
main()
"""


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, dnabert_folder: Path) -> Path:
    """What the hub serves: ESM-2 of the t6_8M shape in parts, DNABERT-S as `.bin`, a pickled classifier."""
    shelf = tmp_path_factory.mktemp("shelf")
    torch.manual_seed(4)
    config = EsmConfig(
        vocab_size=33, hidden_size=320, num_hidden_layers=6, num_attention_heads=20, intermediate_size=1280,
        position_embedding_type="rotary", token_dropout=True, layer_norm_eps=1e-5, pad_token_id=1,
        mask_token_id=32, emb_layer_norm_before=False, max_position_embeddings=1026,
    )  # fmt: skip
    EsmForMaskedLM(config).save_pretrained(shelf / "esm2", max_shard_size="25MB")
    (shelf / "esm2" / "README.md").write_text("---\nlicense: mit\n---\n# ESM-2\n")
    (shelf / "dnabert").mkdir()
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(dnabert_folder / name, shelf / "dnabert")
    torch.save(load_file(dnabert_folder / "model.safetensors"), shelf / "dnabert" / "pytorch_model.bin")
    (shelf / "dnabert" / "bert_layers.py").write_text("raise SystemExit('remote code ran')")
    pickled_original(shelf / "500_model.pth", 48 + 320, 16)
    return shelf


@pytest.fixture
def hub(shelf: Path) -> Iterator[Hub]:
    files = {"/raw/500_model.pth": shelf / "500_model.pth"}
    with Hub({ESM2: shelf / "esm2", DNABERT_S: shelf / "dnabert"}, files) as hub:
        yield hub


Run = Callable[..., tuple[int, str]]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(hub: Hub, shelf: Path, tmp_path: Path) -> Start:
    """Start `virnucpro models …`; `here` is the set it knows."""
    known = {
        "here": {
            "window_length": 500,
            "precision": ["fp32", "fp16"],
            "esm2": {"repository": ESM2, "checkpoint": "esm2_t6_8M.pt"},
            "dnabert_s": {"repository": DNABERT_S},
            "classifier": {
                "url": f"{hub.url}/raw/500_model.pth",
                "digest": git_blob(shelf / "500_model.pth"),
                "licence": "mit",
            },
        }
    }
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hf"),
        "TORCH_HOME": str(tmp_path / "torch"),
        "VIRNUCPRO_MODELS": str(tmp_path / "models"),
    }

    def program(*arguments: object, offline: bool = False) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, json.dumps(known), "models", *map(str, arguments)],
            env=environment | ({"HF_HUB_OFFLINE": "1"} if offline else {}),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    return program


@pytest.fixture
def models(start: Start) -> Run:
    """Run `virnucpro models …`: (exit code, all that it printed)."""

    def run(*arguments: object, offline: bool = False) -> tuple[int, str]:
        process = start(*arguments, offline=offline)
        said, _ = process.communicate(timeout=300)
        assert "Traceback" not in said, said
        return process.returncode, said

    return run


def largest(shelf: Path) -> Path:
    return max((shelf / "esm2").glob("*.safetensors"), key=lambda path: path.stat().st_size)


def test_brings_a_set_that_gives_what_its_sources_give(
    models: Run, hub: Hub, shelf: Path, tmp_path: Path
) -> None:
    code, said = models("list")
    assert code == 0 and "here\t500\tfp32,fp16\t-\tnot here: virnucpro models fetch here" in said
    code, said = models("fetch", "here")
    assert code == 0, said
    assert "100%" in said and len(list((shelf / "esm2").glob("*.safetensors"))) == 2
    found = ModelSet.open(tmp_path / "models" / "here")
    found.verify()
    assert (
        sorted(path.suffix for path in found.directory.rglob("*.*")) == [".json"] * 4 + [".safetensors"] * 4
    )
    assert (found.name, found.precision) == ("here", ("fp32", "fp16"))
    assert found.embedding_sizes == {"dnabert_s": 48, "esm2": 320}
    assert found.manifest["scores"] == {"score1": "probability of others", "score2": "probability of virus"}
    sources = found.manifest["sources"]
    assert sources["esm2"]["licence"] == "mit" and sources["dnabert_s"]["licence"] is None
    assert sources["esm2"]["revision"] == REVISION and sources["esm2"]["repository"] == ESM2
    assert sources["esm2"]["files"][largest(shelf).name] == file_sha256(largest(shelf))
    assert sources["classifier"]["files"] == {"500_model.pth": file_sha256(shelf / "500_model.pth")}
    proteins, frames = ["MKL", "MAAGWT" * 9], ["ACGT" * 20]
    ours, theirs = load_esm2(found.esm2, CPU), load_esm2(shelf / "esm2", CPU)
    assert np.array_equal(embed(ours, proteins, 999), embed(theirs, proteins, 999))
    assert np.array_equal(
        embed(load_dnabert_s(found.dnabert_s, CPU), frames, 999),
        embed(load_dnabert_s(shelf / "dnabert", CPU), frames, 999),
    )
    asked = len(hub.requests)
    code, said = models("fetch", "here")
    assert code == 0 and "whole and checked" in said
    assert len(hub.requests) == asked, "what is there is not asked for again"
    assert f"{tmp_path / 'models' / 'here'}\n" in models("list")[1]


def test_goes_on_where_the_connection_was_cut(models: Run, hub: Hub, shelf: Path) -> None:
    name, size = largest(shelf).name, largest(shelf).stat().st_size
    hub.cut_after[name] = size - 1_000_000
    code, said = models("fetch", "here")
    assert code == 0, said
    again = hub.downloads(name)
    assert again[0] == 0 and len(again) == 2 and size / 3 < again[1] < size, "the rest, not all of it again"


def test_a_killed_fetch_leaves_nothing_in_the_way(
    start: Start, models: Run, hub: Hub, shelf: Path, tmp_path: Path
) -> None:
    """Killed in the middle of a file; the folder left behind stands for one killed at the end."""
    process = start("fetch", "here")
    while not hub.downloads(largest(shelf).name):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    (tmp_path / "models" / ".here.partial" / "dnabert_s").mkdir(parents=True)
    hub.requests.clear()
    assert models("fetch", "here")[0] == 0
    ModelSet.open(tmp_path / "models" / "here").verify()
    assert not hub.downloads("pytorch_model.bin"), "what was whole is not asked for again"


def test_two_fetches_at_once_do_the_work_once(start: Start, hub: Hub, shelf: Path) -> None:
    processes = [start("fetch", "here") for _ in range(2)]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    assert len(hub.downloads(largest(shelf).name)) == 1


@pytest.mark.parametrize(
    "name", ["model-00001-of-00002.safetensors", "pytorch_model.bin", "config.json", "500_model.pth"]
)
def test_refuses_one_changed_bit_and_asks_again_the_next_time(
    models: Run, hub: Hub, tmp_path: Path, name: str
) -> None:
    hub.changed = {name}
    code, said = models("fetch", "here")
    assert code == 2 and name in said and "refused" in said, said
    assert not (tmp_path / "models" / "here").exists()
    asked = hub.downloads(name)
    hub.changed = set()
    assert models("fetch", "here")[0] == 0
    assert len(hub.downloads(name)) > len(asked) > 0


def test_works_from_the_cache_without_the_hub(models: Run, hub: Hub, tmp_path: Path) -> None:
    assert models("fetch", "here")[0] == 0
    for offline in (True, False):
        shutil.rmtree(tmp_path / "models" / "here")
        hub.requests.clear()
        if not offline:
            hub.repositories = hub.files = {}
        code, said = models("fetch", "here", offline=offline)
        assert code == 0, said
        assert not hub.requests
        ModelSet.open(tmp_path / "models" / "here").verify()


def test_a_damaged_set_is_made_again(models: Run, tmp_path: Path) -> None:
    assert models("fetch", "here")[0] == 0
    weights = ModelSet.open(tmp_path / "models" / "here").esm2
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    code, said = models("verify", "here")
    assert code == 2 and "virnucpro models fetch here brings it again" in said
    code, said = models("fetch", "here")
    assert code == 0 and "making it again" in said
    assert weights.read_bytes() == whole


def test_takes_what_is_on_disk(models: Run, hub: Hub, shelf: Path, fair_esm: Path, tmp_path: Path) -> None:
    given = (
        "--esm2",
        shelf / "esm2",
        "--dnabert-s",
        shelf / "dnabert",
        "--classifier",
        shelf / "500_model.pth",
    )
    code, said = models("fetch", "here", *given)
    assert code == 0 and not hub.requests, said
    found = ModelSet.open(tmp_path / "models" / "here")
    assert found.manifest["sources"]["esm2"]["files"][largest(shelf).name] == file_sha256(largest(shelf))
    shutil.rmtree(found.directory)
    (tmp_path / "torch" / "hub" / "checkpoints").mkdir(parents=True)
    shutil.copy(fair_esm, tmp_path / "torch" / "hub" / "checkpoints" / "esm2_t6_8M.pt")
    code, said = models("fetch", "here", *given[2:])
    assert code == 2 and "takes 368 features" in said and "esm2_t6_8M.pt 32" in said, "it took fair-esm's"


def test_failures_are_one_line(models: Run, hub: Hub, shelf: Path, tmp_path: Path) -> None:
    def last(*arguments: object) -> str:
        code, said = models("fetch", *arguments)
        assert code == 2, said
        return said.strip().splitlines()[-1]

    assert "404" in last("here", "--classifier", f"{hub.url}/raw/gone.pth")
    assert last("nowhere") == "Error: nowhere: not a published model set; there are here"
    assert "no such file" in last("here", "--esm2", tmp_path / "no.pt")
    assert not [name for method, name, _ in hub.requests if method == "GET"], (
        "that is seen before any download"
    )
    (tmp_path / "other.pth").write_bytes(b"another")
    assert "not the published 500_model.pth" in last("here", "--classifier", tmp_path / "other.pth")
    code, said = models("fetch", "here", "--classifier", shelf / "500_model.pth", offline=True)
    assert code == 2 and f"Error: {DNABERT_S}: could not be downloaded (" in said.splitlines()[-1], said
    hub.repositories = {DNABERT_S: shelf / "dnabert"}
    assert last("here").startswith(f"Error: {ESM2}: could not be downloaded (")
    assert not (tmp_path / "models" / "here").exists()
