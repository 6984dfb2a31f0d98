"""One at a time in one place: with flock, without it, after a death, and from another host."""

import errno
import fcntl
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from virnucpro import locks
from virnucpro.errors import Busy, InputError
from virnucpro.locks import Owner, lock

HOLDER = """
import sys, time
from pathlib import Path
from virnucpro.locks import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(params=["flock", errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> object:
    """One with flock, and the three answers of those without."""
    if request.param != "flock":

        def refuse(*_: object) -> None:
            raise OSError(request.param, os.strerror(request.param))

        monkeypatch.setattr(fcntl, "flock", refuse)
    return request.param


def says(path: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads(path.read_text())
    return content


@pytest.mark.usefixtures("file_system")
def test_the_second_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with lock(path):
        before = path.read_bytes()
        with pytest.raises(Busy) as caught, lock(path):
            pass
        assert path.read_bytes() == before
        said = says(path)
        assert (said["pid"], said["host"].split()[0]) == (os.getpid(), socket.gethostname())  # type: ignore[attr-defined]
        who = f"process {os.getpid()} on {socket.gethostname()}, since {said['since']}"
        assert str(caught.value) == (
            f"{tmp_path}: another run is at work here ({who}); wait for it to end, or stop it"
        )
    assert not path.exists()
    with lock(path):
        assert path.exists()


@pytest.mark.usefixtures("file_system")
def test_a_dead_owner_is_followed(tmp_path: Path) -> None:
    """Killed, not yet waited for by its parent, and with a process number that has come again."""
    path = tmp_path / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(Busy, match=f"process {holder.pid} on"), lock(path):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    while f"/proc/{holder.pid}" and locks._started(holder.pid):
        time.sleep(0.01)
    with lock(path):
        assert says(path)["pid"] == os.getpid()
    holder.communicate()
    path.write_text(json.dumps(says_of_me() | {"started": "1"}))
    with lock(path):
        assert says(path)["started"] != "1"


def says_of_me() -> dict[str, object]:
    return asdict(Owner.this_process(flock=False))


def test_a_process_of_another_kind_counts_too(tmp_path: Path) -> None:
    """Nextflow's Java knows no flock: its name in the file is enough, as long as it lives."""
    path = tmp_path / "lock"
    java = replace(Owner.this_process(flock=False), pid=os.getppid(), started=locks._started(os.getppid()))
    path.write_text(json.dumps(asdict(java)))
    with pytest.raises(Busy, match=f"process {os.getppid()} on"), lock(path):
        pass


@pytest.mark.parametrize(("held_by_flock", "free"), [(True, True), (False, False)])
def test_another_host_is_gone_only_when_its_flock_says_so(
    tmp_path: Path, held_by_flock: bool, free: bool
) -> None:
    path = tmp_path / "lock"
    path.write_text(json.dumps(says_of_me() | {"host": "node7 pid:[1]", "flock": held_by_flock}))
    if free:
        with lock(path):
            assert says(path)["host"] != "node7 pid:[1]"
    else:
        with pytest.raises(Busy, match=f"on node7, since .*; if it is gone, remove {path}"), lock(path):
            pass


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": 1}', "\xff"])
def test_a_damaged_lock_file_is_nobodys(tmp_path: Path, content: str) -> None:
    (tmp_path / "lock").write_text(content, encoding="latin-1")
    with lock(tmp_path / "lock"):
        assert says(tmp_path / "lock")["pid"] == os.getpid()


def test_without_flock_a_new_file_is_left_to_whoever_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_COMING", 0.3)
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSYS, "none")))
    (tmp_path / "lock").touch()
    with pytest.raises(Busy, match="it has just begun"), lock(tmp_path / "lock"):
        pass
    os.utime(tmp_path / "lock", (0, 0))
    with lock(tmp_path / "lock"):
        pass


def test_a_wait_says_for_whom_every_minute_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(locks, "_TELL_EVERY", 0.5)
    with (
        lock(tmp_path / "lock"),
        caplog.at_level(logging.WARNING),
        pytest.raises(Busy, match=f"process {os.getpid()}"),
        lock(tmp_path / "lock", patience=1.3),
    ):
        pass
    said = [record.message for record in caplog.records if "waiting for process" in record.message]
    assert len(said) == 3 and all(str(tmp_path / "lock") in line for line in said)


def test_a_link_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(InputError, match="is a link"), lock(tmp_path / "lock"):
        pass
    (tmp_path / "lock").unlink()
    (tmp_path / "lock").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is a link"), lock(tmp_path / "lock"):
        pass
    assert (tmp_path / "precious").read_text() == "mine" and not (tmp_path / "nowhere").exists()


@pytest.mark.usefixtures("file_system")
def test_of_many_at_once_one_holds_it_at_a_time(tmp_path: Path) -> None:
    """Sixteen threads; each that holds it finds nobody else inside."""
    from concurrent.futures import ThreadPoolExecutor

    inside: list[int] = []

    def enter(number: int) -> bool:
        try:
            with lock(tmp_path / "lock"):
                inside.append(number)
                time.sleep(0.01)
                assert inside == [number]
                inside.clear()
                return True
        except Busy:
            return False

    with ThreadPoolExecutor(16) as pool:
        got = list(pool.map(enter, range(16)))
    assert any(got)


def test_without_flock_the_last_of_two_that_take_it_at_once_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSYS, "none")))
    other = replace(Owner.this_process(flock=False), since="a moment later")
    waited: list[float] = []

    def meanwhile(seconds: float) -> None:
        if not waited:
            path.write_text(json.dumps(asdict(other)))
        waited.append(seconds)

    monkeypatch.setattr(time, "sleep", meanwhile)
    with pytest.raises(Busy, match="since a moment later"), lock(path):
        pass
    assert waited and says(path) == asdict(other)
