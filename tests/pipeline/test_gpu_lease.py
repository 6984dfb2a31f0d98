"""Two GPU tasks on one machine never hold the same device: tested with made-up ids and real locks."""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import combinations
from pathlib import Path

import pytest

from tests.pipeline.conftest import ROOT, Run, nextflow

LEASE = ROOT / "conf" / "gpu_lease.sh"
NOBODY = 65534
# Takes a lease, notes ids, start and end, and holds it for a while; a child of the shell lives on as long.
HOLDER = """
set -euo pipefail
source "$1" "$2"
start=$(date +%s.%N)
sleep 0.3
echo "$2 $CUDA_VISIBLE_DEVICES $start $(date +%s.%N)"
"""
# Takes a lease, says which, and keeps it until its standard input ends.
KEEPER = """
set -euo pipefail
{before}
source "$1" "$2"{after}
echo "$CUDA_VISIBLE_DEVICES ${{CUDA_DEVICE_ORDER:-}}"
read -r line || true
"""
# Where it gets none, the shell lives on as long.
LIVES_ON = " || { status=$?; read -r line || true; exit $status; }"
# All that the scripts call: for a PATH without nvidia-smi.
COMMANDS = (
    *("awk", "bash", "chmod", "date", "flock", "head", "ln", "mkdir", "mktemp", "mv", "rm", "setpriv"),
    *("sleep", "stat", "tr"),
)

two_users = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")


class Lease:
    """A shell that asks for GPUs, and keeps what it gets until it is told to end."""

    def __init__(self, folder: Path, command: list[str], environment: dict[str, str]) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        with (folder / "stdout").open("w") as stdout, (folder / "stderr").open("w") as stderr:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

    @property
    def note(self) -> str:
        """What says that it is this one."""
        return f"process {self.process.pid} since "

    @property
    def output(self) -> str:
        return (self._folder / "stdout").read_text()

    @property
    def errors(self) -> list[str]:
        return (self._folder / "stderr").read_text().split("\n")[:-1]

    def until(self, happened: Callable[[], bool]) -> None:
        for _ in range(1200):
            alive = self.process.poll() is None
            if happened():
                return
            assert alive, (self.process.returncode, self.output, self.errors)
            time.sleep(0.05)
        raise AssertionError(("a minute for nothing", self.output, self.errors))

    def leased(self) -> str:
        """Its GPUs, once it has them."""
        self.until(lambda: self.output.endswith("\n"))
        return self.output.split()[0]

    def waits(self) -> str:
        """What it says when it waits, and has nothing yet."""
        self.until(lambda: self.errors != [])
        assert self.output == "" and self.errors[0].startswith("GPU lease: waiting for "), self.errors
        return self.errors[0]

    def end(self, code: int = 0) -> None:
        assert self.process.stdin and self.process.poll() is None
        self.process.stdin.close()
        assert self.process.wait(60) == code, self.errors

    def fails(self, code: int = 2) -> str:
        """The one line in which it says why."""
        assert (self.process.wait(60), self.output) == (code, ""), self.errors
        errors = [line for line in self.errors if not line.startswith("GPU lease: waiting for ")]
        assert len(errors) == 1 and errors[0].startswith("Error: "), self.errors
        return errors[0]


class Machine:
    """Where shells ask for leases: a place that all users can reach, with a folder for locks and a PATH."""

    def __init__(self, home: Path) -> None:
        home.chmod(0o755)
        self.home = home
        self.script = shutil.copy(LEASE, home)
        self.locks = home / "locks"
        self.tools = home / "tools"
        self.tools.mkdir()
        for command in COMMANDS:
            (self.tools / command).symlink_to(shutil.which(command) or f"no {command} on the PATH")
        self.leases: list[Lease] = []

    def tool(self, name: str, script: str) -> None:
        """Put a stand-in on the PATH."""
        (self.tools / name).unlink(missing_ok=True)
        (self.tools / name).write_text(f"#!/bin/bash\n{script}\n")
        (self.tools / name).chmod(0o755)

    def share(self, mode: int = 0o1777) -> Path:
        self.locks.mkdir()
        self.locks.chmod(mode)
        return self.locks

    def ask(
        self,
        wanted: str,
        visible: str | None,
        user: int | None = None,
        before: str = "",
        after: str = "",
        **environment: str,
    ) -> Lease:
        as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
        shell = ["bash", "-c", KEEPER.format(before=before, after=after), "bash", str(self.script), wanted]
        environment = {"PATH": str(self.tools), "VIRNUCPRO_LEASE_DIR": str(self.locks)} | environment
        if visible is not None:
            environment["CUDA_VISIBLE_DEVICES"] = visible
        self.leases.append(
            Lease(self.home / "tasks" / f"{len(self.leases)}", [*as_user, *shell], environment)
        )
        return self.leases[-1]

    def files(self) -> list[str]:
        """The lock files, without the endings that nobody can foresee."""
        return sorted(path.name.removeprefix("virnucpro-gpu-").split(".")[0] for path in self.locks.iterdir())

    def stop(self) -> None:
        for lease in self.leases:
            with suppress(ProcessLookupError):
                os.killpg(lease.process.pid, signal.SIGKILL)
            lease.process.wait()


@pytest.fixture
def machine() -> Iterator[Machine]:
    # Not tmp_path, which is closed to other users.
    with tempfile.TemporaryDirectory(prefix="virnucpro-lease-") as folder:
        machine = Machine(Path(folder))
        yield machine
        machine.stop()


def held(lines: list[str]) -> list[tuple[str, set[str], float, float]]:
    """`wanted ids start end` of each lease."""
    leases = []
    for line in lines:
        wanted, ids, start, end = line.split()
        leases.append((wanted, set(ids.split(",")), float(start), float(end)))
    return leases


def overlaps(leases: list[tuple[str, set[str], float, float]]) -> list[tuple[object, object]]:
    """Pairs that held one id at one time."""
    return [
        (one, other)
        for one, other in combinations(leases, 2)
        if one[1] & other[1] and one[2] < other[3] and other[2] < one[3]
    ]


def test_leases_never_overlap(tmp_path: Path) -> None:
    visible = "3,0,GPUx/1"
    wishes = ["1", "all", "1", "1", "2", "1", "all", "1", "2", "1", "1", "all"]
    environment = {"CUDA_VISIBLE_DEVICES": visible, "VIRNUCPRO_LEASE_DIR": str(tmp_path / "locks")}
    holders = [
        subprocess.Popen(
            ["bash", "-c", HOLDER, "bash", LEASE, wanted],
            env=os.environ | environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for wanted in wishes
    ]
    outputs = [holder.communicate(timeout=120) for holder in holders]
    assert [holder.returncode for holder in holders] == [0] * len(wishes), outputs
    leases = held([output for output, _ in outputs])
    assert overlaps(leases) == []
    for wanted, ids, _, _ in leases:
        assert ids <= set(visible.split(",")) and len(ids) == (3 if wanted == "all" else int(wanted))


def test_single_gpus_are_shared_out(machine: Machine) -> None:
    """Two wishes for one GPU each, of two: both at once. Nobody waits for what is free."""
    assert [machine.ask("1", "0,1").leased() for _ in range(2)] == ["0", "1"]


def test_ids_come_in_the_order_given(machine: Machine) -> None:
    assert machine.ask("all", "3,0,MIG-a/1").leased() == "3,0,MIG-a/1"
    assert machine.files() == ["0", "3", "MIG-a_1", "turn"]


def test_all_is_not_starved(machine: Machine) -> None:
    """Whoever asks for every GPU comes before small wishes that come later, though one is free for these."""
    first = machine.ask("1", "0,1")
    first.leased()
    large = machine.ask("all", "0,1")
    large.waits()
    late = [machine.ask("1", "0,1", before="exec < /dev/null") for _ in range(3)]
    for lease in late:
        lease.waits()
    first.end()
    assert large.leased() == "0,1"
    assert [lease.output for lease in late] == [""] * 3
    large.end()
    for lease in late:
        lease.leased()


def test_leases_start_in_the_order_of_asking(machine: Machine) -> None:
    line = [machine.ask("1", "0")]
    line[0].leased()
    for _ in range(4):
        line.append(machine.ask("1", "0"))
        line[-1].waits()
        time.sleep(0.5)
    while line:
        lease = line.pop(0)
        assert lease.leased() == "0"
        assert [later.output for later in line] == [""] * len(line)
        lease.end()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_locks_go_with_the_process(machine: Machine, ending: signal.Signals) -> None:
    """The GPU of a holder, and the turn of one that waits for it."""
    holder = machine.ask("all", "0")
    holder.leased()
    chooser = machine.ask("1", "0")
    chooser.waits()
    last = machine.ask("1", "0")
    last.waits()
    chooser.process.send_signal(ending)
    holder.process.send_signal(ending)
    assert last.leased() == "0"


def test_lease_outlasts_the_turn_file(machine: Machine) -> None:
    """Whose owner may remove it, as systemd does when a user logs out."""
    holder = machine.ask("1", "0")
    holder.leased()
    (machine.locks / "virnucpro-gpu-turn").unlink()
    assert holder.note in machine.ask("1", "0").waits()


def test_turn_that_is_removed_gives_no_lease(machine: Machine) -> None:
    """Somebody else may have another turn by then, and choose the same GPU."""
    holder = machine.ask("1", "0")
    holder.leased()
    chooser = machine.ask("1", "0", after=LIVES_ON)
    chooser.waits()
    (machine.locks / "virnucpro-gpu-turn").unlink()
    holder.end()
    chooser.until(lambda: "virnucpro-gpu-turn was removed" in chooser.errors[-1])
    assert machine.ask("1", "0").leased() == "0" and chooser.output == ""
    chooser.end(75)


def test_files_of_ended_leases_are_removed(machine: Machine) -> None:
    for _ in range(3):
        lease = machine.ask("all", "0,1")
        lease.leased()
        lease.end()
    assert machine.files() == ["0", "1", "turn"]


@pytest.mark.parametrize(
    ("wanted", "visible", "message"),
    [
        ("1", "", "Error: a GPU was asked for, but none is visible"),
        ("1", None, "Error: a GPU was asked for, but none is visible"),
        ("3", "0,1", "Error: --gpus 3, but only 2 visible: 0 1"),
        ("x[$(touch X)]", "0,1", "Error: --gpus x[$(touch X)] is neither all nor a number"),
        ("all", "0,1,0", "Error: CUDA_VISIBLE_DEVICES names one GPU twice: 0 1 0"),
    ],
)
def test_absent_gpu_is_an_error(machine: Machine, wanted: str, visible: str | None, message: str) -> None:
    assert machine.ask(wanted, visible).fails().startswith(message)
    assert list(machine.home.rglob("X")) == []


def test_options_of_the_shell_do_not_matter(machine: Machine) -> None:
    """And are as they were when it has its lease."""
    machine.ask("1", "0,1").leased()
    before = "set -fC; IFS=$'\\n'; before=$-$IFS"
    assert machine.ask("1", "0,1", before=before, after="; [[ $-$IFS == $before ]]").leased() == "1"


def test_waiting_ends_with_a_signal_that_the_shell_traps(machine: Machine) -> None:
    """Nextflow's task script has such a trap: what was cancelled must not start when a GPU is free again."""
    machine.ask("1", "0").leased()
    chooser = machine.ask("1", "0", before="trap 'set +e' TERM")
    chooser.waits()
    queued = machine.ask("1", "0", before="trap 'set +e' TERM")
    queued.waits()
    for lease in (queued, chooser):
        lease.process.terminate()
        assert (lease.process.wait(60), lease.output) == (128 + signal.SIGTERM, "")


# Who waits for whom.


def test_waiting_names_the_holders(machine: Machine) -> None:
    holder = machine.ask("1", "0,1")
    holder.leased()
    chooser = machine.ask("all", "0,1")
    line = chooser.waits()
    who = r"[^;]* \(\d+\), process {} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d, tasks/{}"
    assert re.fullmatch(
        r"GPU lease: waiting for 2 of 0 1, at most 86400 s \(VIRNUCPRO_LEASE_LIMIT\)"
        rf"; 0 is held by {who.format(holder.process.pid, 0)}",
        line,
    )
    queued = machine.ask("1", "0,1").waits()
    assert re.search(rf"; turn is held by {who.format(chooser.process.pid, 1)}; 0 is held by ", queued)
    assert len(chooser.errors) == 1


def test_foreign_notes_are_cut_and_printable(machine: Machine) -> None:
    note = machine.share() / "virnucpro-gpu-0.AAAAAAAA"
    note.write_text("\x1b[2J\r\nroot\x07 é " + 1000 * "x")
    with note.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        lease = machine.ask("1", "0")
        line = lease.waits()
        assert "[2Jroot  xxx" in line and 150 < line.count("x") <= 200 and line.isprintable()
        assert len(lease.errors) == 1


def test_waiting_ends_at_the_limit(machine: Machine) -> None:
    """And a shell that lives on then keeps nobody waiting."""
    holder = machine.ask("1", "0")
    holder.leased()
    chooser = machine.ask("1", "0", VIRNUCPRO_LEASE_LIMIT="1", after=LIVES_ON)
    assert "at most 1 s (VIRNUCPRO_LEASE_LIMIT)" in chooser.waits()
    chooser.until(lambda: "Error: no GPU lease within 1 s (VIRNUCPRO_LEASE_LIMIT)" in chooser.errors)
    holder.end()
    assert machine.ask("1", "0").leased() == "0"
    chooser.end(75)
    assert "no GPU lease within 1 s" in machine.ask("1", "0", VIRNUCPRO_LEASE_LIMIT="1").fails(75)
    machine.ask("1", "0").waits()
    for_the_turn = machine.ask("1", "0", VIRNUCPRO_LEASE_LIMIT="1")
    assert "no GPU lease within 1 s" in for_the_turn.fails(75)
    assert "VIRNUCPRO_LEASE_LIMIT is 1h" in machine.ask("1", "0", VIRNUCPRO_LEASE_LIMIT="1h").fails()


# Which card is meant.


def test_uuid_without_nvidia_smi(machine: Machine) -> None:
    first = machine.ask("1", "GPU-5aa1,GPU-5bb2")
    assert first.leased() == "GPU-5aa1"
    assert machine.ask("1", "GPU-5aa1,GPU-5bb2").leased() == "GPU-5bb2"
    third = machine.ask("1", "GPU-5aa1,GPU-5bb2")
    assert first.note in third.waits()
    assert machine.files() == ["GPU-5aa1", "GPU-5bb2", "turn", "turn"]
    first.end()
    assert third.leased() == "GPU-5aa1"


@pytest.mark.parametrize("names", [("1", "GPU-5bb2"), ("GPU-5bb2", "1"), ("GPU-5bb2", "GPU-5b")])
def test_one_card_under_two_names(machine: Machine, names: tuple[str, str]) -> None:
    machine.tool("nvidia-smi", "echo '0, GPU-5aa1'; echo '1, GPU-5bb2'")
    first = machine.ask("1", names[0])
    assert first.leased() == names[0]
    second = machine.ask("1", names[1])
    assert first.note in second.waits()
    first.end()
    assert second.leased() == names[1]
    assert machine.files() == ["1", "turn"]
    assert "names one GPU twice" in machine.ask("2", ",".join(names)).fails()


def test_what_nvidia_smi_lists(machine: Machine) -> None:
    machine.tool("nvidia-smi", "echo '0, GPU-5aa1'; echo '1, GPU-5bb2'")
    assert machine.ask("all", None).leased() == "0,1"
    for unknown in ("GPU-5cc3", "GPU-5"):
        assert (
            f"names {unknown}, and nvidia-smi knows no one GPU by that" in machine.ask("1", unknown).fails()
        )


@pytest.mark.parametrize(
    ("visible", "message"), [(None, "none is visible"), ("GPU-5aa1", "knows no one GPU")]
)
def test_nvidia_smi_that_fails(machine: Machine, visible: str | None, message: str) -> None:
    machine.tool("nvidia-smi", "echo 'NVIDIA-SMI has failed'; exit 9")
    assert message in machine.ask("1", visible).fails()


def test_numbers_are_those_of_nvidia_smi(machine: Machine) -> None:
    lease = machine.ask("1", "0", CUDA_DEVICE_ORDER="FASTEST_FIRST")
    lease.leased()
    assert lease.output == "0 PCI_BUS_ID\n"


@pytest.mark.parametrize(("given", "order"), [(None, "PCI_BUS_ID"), ("FASTEST_FIRST", "FASTEST_FIRST")])
def test_numbers_are_those_of_nvidia_smi_without_a_lease(given: str | None, order: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_DEVICE_ORDER"}
    shown = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, virnucpro.embedding.device; print(os.environ['CUDA_DEVICE_ORDER'])",
        ],
        env=environment | ({"CUDA_DEVICE_ORDER": given} if given else {}),
        text=True,
        capture_output=True,
        check=True,
    )
    assert shown.stdout == f"{order}\n"


# Other users.


@two_users
@pytest.mark.parametrize("users", [(None, NOBODY), (NOBODY, None)])
def test_users_exclude_each_other(machine: Machine, users: tuple[int | None, int | None]) -> None:
    machine.share()
    first = machine.ask("1", "0", users[0], before="umask 077")
    first.leased()
    second = machine.ask("1", "0", users[1], before="umask 077")
    assert re.search(rf"; 0 is held by [^;]* \({users[0] or 0}\), {first.note}", second.waits())
    third = machine.ask("1", "0", users[0])
    assert re.search(rf"; turn is held by [^;]* \({users[1] or 0}\), {second.note}", third.waits())
    first.end()
    assert second.leased() == "0"
    second.end()
    assert third.leased() == "0"


def test_folder_is_made_for_all(machine: Machine) -> None:
    machine.ask("1", "0", before="umask 077").leased()
    assert machine.locks.stat().st_mode & 0o7777 == 0o1777
    assert {path.stat().st_mode & 0o7777 for path in machine.locks.iterdir()} == {0o644}


@pytest.mark.parametrize("name", ["virnucpro-gpu-turn", "virnucpro-gpu-0.AAAAAAAA"])
@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("dangling link", "symbolic link"),
        ("link", "symbolic link"),
        ("directory", "directory"),
        ("FIFO", "fifo"),
        pytest.param("private", "regular empty file", marks=two_users),
    ],
)
def test_what_is_no_lock_file_is_refused(machine: Machine, name: str, kind: str, shown: str) -> None:
    trap = machine.share() / name
    home = machine.home / "home"
    home.mkdir()
    (home / "present").touch()
    match kind:
        case "dangling link":
            trap.symlink_to(home / "absent")
        case "link":
            trap.symlink_to(home / "present")
        case "directory":
            trap.mkdir()
        case "FIFO":
            os.mkfifo(trap)
        case "private":
            trap.touch(0o600)
    message = machine.ask("1", "0", NOBODY if kind == "private" else None).fails()
    assert message.startswith(f"Error: {trap} is no lock file but a {shown}, mode ")
    assert re.search(rf", owner: \S+ \({os.geteuid()}\); ", message)
    assert [path.name for path in home.iterdir()] == ["present"]
    assert set(machine.files()) <= {"0", "turn"}


def test_folder_that_is_swapped_is_not_followed(machine: Machine) -> None:
    """By somebody who waits for the moment after the check."""
    locks, moved, home = machine.share(), machine.home / "moved", machine.home / "home"
    home.mkdir()
    swap = f"[[ -L {locks} ]] || {{ mv {locks} {moved}; ln -s {home} {locks}; }}"
    machine.tool("mktemp", f'{swap}; exec {shutil.which("mktemp")} "$@"')
    assert machine.ask("1", "0").leased() == "0"
    assert list(home.iterdir()) == [] and len(list(moved.iterdir())) == 2


def _link(machine: Machine) -> None:
    machine.share().rename(machine.home / "real")
    machine.locks.symlink_to(machine.home / "real")


def _give_away(machine: Machine) -> None:
    os.chown(machine.share(), NOBODY, NOBODY)


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        pytest.param(_link, "is a link", id="link"),
        pytest.param(_give_away, "is neither root's nor yours", id="another's", marks=two_users),
        pytest.param(lambda machine: machine.share(0o777), "lets others replace your files", id="open"),
        pytest.param(lambda machine: machine.share(0o770), "lets others replace your files", id="group"),
    ],
)
def test_unsafe_folder_is_refused(machine: Machine, make: Callable[[Machine], object], wrong: str) -> None:
    make(machine)
    owner = machine.locks.lstat().st_uid
    message = machine.ask("1", "0").fails()
    assert message.startswith(f"Error: the GPU lease folder {machine.locks} {wrong}")
    assert f" ({owner}); set VIRNUCPRO_LEASE_DIR to a folder of root's or your own" in message
    assert machine.files() == []


@pytest.mark.parametrize("path", ["locks", "{home}/stale", "{home}/gpu_lease.sh", "{home}/a/b"])
def test_folder_that_cannot_be_used_is_an_error(machine: Machine, path: str) -> None:
    """Among them a relative one, which would be another folder for each task."""
    (machine.home / "stale").symlink_to(machine.home / "absent")
    folder = path.format(home=machine.home)
    message = machine.ask("1", "0", VIRNUCPRO_LEASE_DIR=folder).fails()
    assert message.startswith(f"Error: the GPU lease folder {folder} is no full path of a folder")
    assert not (machine.home / "absent").exists()


# In the pipeline.


@pytest.mark.nextflow
@pytest.mark.parametrize("parser", ["v1", "v2"])
def test_place_of_the_pipeline_may_have_any_name(
    tmp_path: Path, succeeded: Callable[[Run], Run], parser: str
) -> None:
    project = tmp_path / "it's $(touch X)"
    shutil.copytree(ROOT / "conf", project / "conf")
    (project / "nextflow.config").write_text(
        "params {\n gpus = 'all'\n checkpoint_dir = null\n}\n"
        + "".join(f"includeConfig 'conf/{name}.config'\n" for name in ("base", "containers", "gpu"))
        + "docker.enabled = false\n"
    )
    (project / "main.nf").write_text(
        "process GPUS {\n label 'process_gpu'\n label 'process_node'\n output: stdout\n script:\n"
        " 'echo \"has $CUDA_VISIBLE_DEVICES in $CUDA_DEVICE_ORDER\"'\n}\n"
        "workflow { GPUS().view() }\n"
    )
    environment = {"CUDA_VISIBLE_DEVICES": "0,1", "VIRNUCPRO_LEASE_DIR": str(tmp_path / "locks")}
    run = succeeded(
        nextflow(tmp_path / "run", "run", str(project / "main.nf"), parser=parser, env=environment)
    )
    assert "has 0,1 in PCI_BUS_ID\n" in run.output
    assert list(tmp_path.rglob("X")) == []


@pytest.mark.nextflow
def test_containers_see_the_lease(tmp_path: Path) -> None:
    run = nextflow(tmp_path, "config", str(ROOT), "-profile", "gpu", "-flat")
    for engine in ("docker", "podman", "singularity", "apptainer"):
        assert f"{engine}.envWhitelist = 'CUDA_VISIBLE_DEVICES,CUDA_DEVICE_ORDER'\n" in run.output


@pytest.mark.nextflow
def test_pipeline_tasks_never_share_a_gpu(
    tmp_path: Path, stub_models: Path, succeeded: Callable[[Run], Run]
) -> None:
    """DNABERT-S and ESM-2 tasks, more at once than there are GPUs."""
    (tmp_path / "reads.fa").write_text("".join(f">r{n}\nACGT\n" for n in range(6)))
    # Runs while the lease is held, after the task's own command.
    note = f'echo "GPU $CUDA_VISIBLE_DEVICES $(date +%s.%N) $(sleep 0.4; date +%s.%N)" >> "{tmp_path}/leases"'
    (tmp_path / "many.config").write_text(
        "executor { cpus = 64\n memory = '256 GB' }\n"
        f"process.afterScript = {{ task.accelerator ? '''{note}''' : '' }}\n"
    )
    run = succeeded(
        nextflow(
            tmp_path,
            *("-c", "many.config", "run", str(ROOT / "main.nf"), "-profile", "gpu,test,local", "-stub-run"),
            *("--outdir", "out dir", "--input", "reads.fa", "--models", str(stub_models)),
            *("--split_size", "1", "--esm_task_size", "3"),
            env={"CUDA_VISIBLE_DEVICES": "0,1", "VIRNUCPRO_LEASE_DIR": str(tmp_path / "locks")},
        )
    )
    leases = held((tmp_path / "leases").read_text().splitlines())
    tasks = re.findall(r"Submitted process > VIRNUCPRO:(DNABERT_S|ESM2) ", run.output)
    assert len(leases) == len(tasks) == 6 + 2
    assert sorted(len(ids) for _, ids, _, _ in leases) == [1] * 6 + [2] * 2
    assert overlaps(leases) == []
