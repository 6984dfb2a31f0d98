"""One run at a time in one place: a lock file that says who holds it.

`flock` decides where the file system has it: it ends with its process, on whatever host. Where it has none (a
Lustre mount without `-o flock`, an NFS mount without lockd), the file itself is the lock, and its holder
counts as gone once its process is. functions/outdir.nf takes the same lock for a Nextflow run.
"""

import errno
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from virnucpro.errors import Busy, InputError
from virnucpro.files import naming

_NO_FLOCK = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_YOUNG = 60.0  # seconds in which a lock file without an owner is one that is just being made
_SETTLE = 0.2  # seconds between writing a lock file without flock and seeing whether another did so too
_COMING = 2.0  # seconds in which an owner that is just coming or going has come or gone
_TELL_EVERY = 60.0
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a lock: a process of a host, known by its number and its start in ticks since boot, which
    together never come twice. `flock`: whether it holds the lock by flock too."""

    host: str
    pid: int
    started: str
    since: str
    flock: bool

    @classmethod
    def this_process(cls, flock: bool) -> "Owner":
        return cls(_host(), os.getpid(), _started(os.getpid()), time.strftime("%Y-%m-%d %H:%M:%S"), flock)

    @classmethod
    def read(cls, descriptor: int) -> "Owner | None":
        """The owner that a lock file names; None where it names none."""
        try:
            return cls(**json.loads(os.pread(descriptor, 4096, 0)))
        except (ValueError, TypeError):
            return None

    def alive(self, flock_is_free: bool) -> bool:
        """Whether the process still runs; one on another host does unless its flock has become free."""
        if self.host == _host():
            return _started(self.pid) == self.started
        return not (self.flock and flock_is_free)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host.split()[0]}, since {self.since}"


@contextmanager
def lock(path: Path, patience: float = 0) -> Iterator[None]:
    """Hold the lock file `path`; it goes away in the end.

    Waits for `patience` seconds for another process to end, and says every minute for whom. Raises `Busy`
    that names the owner when it has not, and `InputError` where `path` is a link or may not be written.
    """
    try:
        with naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = _wait(path, patience)
    except PermissionError as error:
        raise InputError(f"{error.filename}: cannot be written; choose another folder") from None
    try:
        yield
    finally:
        if _is_file_of(path, descriptor):
            path.unlink()
        os.close(descriptor)


def lock_file(path: Path) -> Path:
    """Where the lock of a file or folder that is to be made stands."""
    return path.with_name(f".{path.name}.lock")


def _wait(path: Path, patience: float) -> int:
    began = time.monotonic()
    told = -_TELL_EVERY
    while not isinstance(held := _take(path), int):
        waited = time.monotonic() - began
        if waited >= (patience if held else max(patience, _COMING)):
            unsure = held and not held.flock and held.host != _host()
            advice = f"if it is gone, remove {path}" if unsure else "wait for it to end, or stop it"
            raise Busy(
                f"{path.parent}: another run is at work here ({held or 'it has just begun'}); {advice}"
            )
        if held and waited - told >= _TELL_EVERY:
            told = waited
            log.warning("waiting for %s, which holds %s", held, path)
        time.sleep(0.1)
    return held


def _take(path: Path) -> int | Owner | None:
    """An open descriptor that holds the lock, or its owner; None for one that is just coming or going."""
    try:
        try:
            descriptor, new = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644), True
        except FileExistsError:
            descriptor, new = os.open(path, os.O_RDWR | os.O_NOFOLLOW), False
    except FileNotFoundError:
        path.parent.stat()  # the file went in between; a folder that is not there is an error
        return None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise InputError(f"{path}: is a link, where a lock file is wanted; remove it") from None
    try:
        held = _try(path, descriptor, new)
    except BaseException:
        os.close(descriptor)
        raise
    if not isinstance(held, int):
        os.close(descriptor)
    return held


def _try(path: Path, descriptor: int, new: bool) -> int | Owner | None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        flock = True
    except BlockingIOError:
        return Owner.read(descriptor)
    except OSError as error:
        if error.errno not in _NO_FLOCK:
            raise
        flock = False
    owner = Owner.read(descriptor)
    if owner and owner.alive(flock):
        return owner
    if not (owner or new or flock) and time.time() - os.fstat(descriptor).st_mtime < _YOUNG:
        return None
    if not _is_file_of(path, descriptor):
        return None
    me = Owner.this_process(flock)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(asdict(me)).encode() + b"\n", 0)
    if not flock:
        time.sleep(_SETTLE)
        if not _is_file_of(path, descriptor) or Owner.read(descriptor) != me:
            return None
    return descriptor


def _is_file_of(path: Path, descriptor: int) -> bool:
    """Whether `path` still names the open file: its last holder may have taken it away."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _host() -> str:
    """The host's name, and which of its sets of process numbers is seen here: containers have their own."""
    try:
        return f"{socket.gethostname()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> str:
    """When a process began, in ticks since boot; empty when there is none, or none but a zombie."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" else fields[18]
