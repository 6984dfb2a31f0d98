"""The files that build, lock and ship the project agree with each other and fail plainly."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from virnucpro.models.attention import FLASH_ATTN

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
_EXTRAS = PROJECT["project"]["optional-dependencies"]
RUNTIME = PROJECT["project"]["dependencies"] + _EXTRAS["train"] + _EXTRAS["bam"]  # the image has them
LOCKS = ("requirements.lock", "requirements-dev.lock", "tools/uv.lock")


def pins(lock: str) -> dict[str, set[str]]:
    """Versions by package name; a package has several where they depend on the Python version."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9-]+)==([^ ;]+)", (ROOT / lock).read_text(), re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        ("requirements.lock", RUNTIME),
        ("requirements-dev.lock", RUNTIME + PROJECT["dependency-groups"]["dev"]),
    ],
)
def test_lock_holds_what_the_project_asks_for(lock: str, wanted: list[str]) -> None:
    locked = pins(lock)
    for requirement in map(Requirement, wanted):
        versions = locked.get(requirement.name, set())
        assert versions, f"{requirement.name} is not in {lock}: run make lock"
        assert all(version in requirement.specifier for version in versions), f"{requirement}: run make lock"


def test_flash_attn_is_one_release_wherever_it_is_named() -> None:
    """In the extra, in what an error tells to do, and in the README, which both also say how it builds."""
    assert PROJECT["project"]["optional-dependencies"]["flash"] == [FLASH_ATTN]
    assert f"pip install --no-build-isolation {FLASH_ATTN} " in (ROOT / "README.md").read_text()
    assert "flash-attn" not in pins("requirements.lock"), "a GPU's compiler builds it: no run may need it"


def test_development_lock_only_adds_to_the_runtime_lock() -> None:
    runtime, development = pins("requirements.lock"), pins("requirements-dev.lock")
    assert {name: development.get(name) for name in runtime} == runtime


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_has_hashes_and_names_no_host(lock: str) -> None:
    entries = (ROOT / lock).read_text().replace("\\\n", " ").splitlines()
    packages = [entry for entry in entries if not entry.startswith("#")]
    assert packages
    assert all("--hash=sha256:" in entry for entry in packages)
    assert not any("://" in entry or "--index" in entry for entry in entries)


def test_pipeline_and_package_have_one_version() -> None:
    manifest = re.search(r"^\s*version\s*=\s*'([^']+)'", (ROOT / "nextflow.config").read_text(), re.MULTILINE)
    assert manifest is not None
    assert manifest[1] == PROJECT["project"]["version"]


def test_pipeline_runs_in_the_image_that_make_container_tags() -> None:
    config = (ROOT / "conf/containers.config").read_text()
    image = re.search(r"^\s*container\s*=\s*'([^']+)'", config, re.MULTILINE)
    assert image is not None
    tagged = subprocess.run(
        ["make", "--dry-run", "engine=podman", "container"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"--tag {image[1]} " in tagged.stdout


def test_image_is_built_from_files_that_the_ignore_file_lets_through() -> None:
    copied = {
        source
        for line in re.findall(
            r"^COPY (.+) \S+$", (ROOT / "containers/Containerfile").read_text(), re.MULTILINE
        )
        for source in line.split()
    }
    allowed = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert copied == allowed
    assert all((ROOT / source).exists() for source in copied)


def test_setup_with_an_old_python_says_so_and_makes_nothing(tmp_path: Path) -> None:
    old = tmp_path / "old python"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.8.2"\nexit 1\n')
    old.chmod(0o755)
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools/setup.sh", tmp_path / "tools")
    run = subprocess.run(
        [tmp_path / "tools/setup.sh"], env=os.environ | {"PYTHON": str(old)}, capture_output=True, text=True
    )
    assert run.returncode == 1
    assert run.stderr.startswith("Error: Python 3.8.2 is too old")
    assert run.stderr.count("\n") == 1
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize(("recipe", "code"), [("true", 0), ("false", 2)])
def test_ci_ends_as_the_tests_end(tmp_path: Path, recipe: str, code: int) -> None:
    (tmp_path / "Makefile").write_text(f"test:\n\t{recipe}\n")
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci")
    assert subprocess.run(["bash", tmp_path / ".ci/run"], capture_output=True).returncode == code


def test_calls_are_shown_as_a_table(tmp_path: Path) -> None:
    (tmp_path / "soil").mkdir()
    header = "record\tsequence_id\tlength\tstatus\twindows\tviral_windows\tvirus_score\tcall\textra"
    rows = [f"{n}\tphage {n}\t900\tcalled\t2\t2\t0.98\tvirus\tx" for n in range(1, 22)]
    rows.append('22\t"short\t2\ttoo_short\t1\t0\tNA\tno_call\tx')
    (tmp_path / "soil/soil_contigs.tsv").write_text("\n".join([header, *rows]) + "\n")
    run = subprocess.run(
        [sys.executable, ROOT / "tools/show_calls.py", tmp_path], capture_output=True, text=True, check=True
    )
    lines = run.stdout.splitlines()
    columns = ["sequence_id", "length", "status", "windows", "viral_windows", "virus_score", "call"]
    assert lines[1] == str(tmp_path / "soil/soil_contigs.tsv")
    assert lines[2].split() == columns
    assert lines[3].split() == ["phage", "1", "900", "called", "2", "2", "0.98", "virus"]
    assert lines[22].split()[:2] == ["phage", "20"]
    assert lines[23:25] == ["  ... and 2 more", "22 sequences: 21 virus, 1 no_call"]
    assert lines[-1] == f"Report: {tmp_path / 'report.html'}"
