"""Who owns a process or a shared memory region of ours, told from its name alone.

Every tritonserver and model process inherits `CLICKCLEAN_SUPERVISOR=<namespace>_<pid>_<start>`, and
the names of its shared memory regions begin with the same mark. What a dead supervisor left behind
can so be found without any state of our own, and what others own is never touched. The start time
tells a supervisor from a later process with the same pid; the pid namespace tells containers apart.
"""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "CLICKCLEAN_SUPERVISOR"
SHM = Path("/dev/shm")  # noqa: S108 - where boost::interprocess puts Triton's regions
SHM_PREFIX = "clickclean_"
# What /proc/<pid>/comm says, which the kernel cuts to 15 characters.
OUR_PROGRAMS = {"tritonserver", "triton_python_b"}


@dataclass(frozen=True)
class Owner:
    """One supervisor process, at any time."""

    namespace: int
    pid: int
    start: int  # in clock ticks since boot, /proc/<pid>/stat field 22

    @classmethod
    def me(cls) -> "Owner":
        """This process."""
        return cls(pid_namespace(), os.getpid(), start_time(os.getpid()) or 0)

    @classmethod
    def parse(cls, mark: str) -> "Owner | None":
        """The owner that `mark` names, or None when it is not a mark."""
        parts = mark.split("_")
        if len(parts) != 3 or not all(part.isdecimal() for part in parts):  # noqa: PLR2004
            return None
        return cls(*(int(part) for part in parts))

    @property
    def mark(self) -> str:
        """The text that processes carry."""
        return f"{self.namespace}_{self.pid}_{self.start}"

    @property
    def shm_prefix(self) -> str:
        """What the names of this owner's regions begin with."""
        return f"{SHM_PREFIX}{self.mark}_"

    def is_gone(self) -> bool:
        """Whether it certainly has ended; unknown for another pid namespace, so False."""
        return self.namespace == pid_namespace() and start_time(self.pid) != self.start


def pid_namespace() -> int:
    """The inode that stands for this process's pid namespace."""
    return Path("/proc/self/ns/pid").stat().st_ino


def start_time(pid: int) -> int | None:
    """When the process started, None when there is none or it only waits to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the program's name in brackets and may hold anything.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def owner_of(pid: int) -> Owner | None:
    """The supervisor that a process of ours belongs to, None for all other processes."""
    proc = Path(f"/proc/{pid}")
    try:
        if proc.stat().st_uid != os.getuid():
            return None
        if (proc / "comm").read_text().strip() not in OUR_PROGRAMS:
            return None
        variables = (proc / "environ").read_bytes().split(b"\0")
    except OSError:
        return None
    prefix = f"{VARIABLE}=".encode()
    for variable in variables:
        if variable.startswith(prefix):
            return Owner.parse(variable[len(prefix) :].decode(errors="replace"))
    return None


def processes_of(owner: Owner) -> list[int]:
    """Pids of the servers and model processes that belong to one supervisor."""
    return [pid for pid in all_pids() if owner_of(pid) == owner]


def model_processes(owner: Owner) -> dict[tuple[str, int], set[int]]:
    """Pids of the model processes of one supervisor, by (model, version)."""
    found: dict[tuple[str, int], set[int]] = {}
    for pid in processes_of(owner):
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        # Triton starts its stub with the path <repository>/<model>/<version>/<file>.
        parts = Path(arguments[1].decode(errors="replace")).parts if len(arguments) > 1 else ()
        if len(parts) > 3 and parts[-2].isdecimal():  # noqa: PLR2004
            found.setdefault((parts[-3], int(parts[-2])), set()).add(pid)
    return found


def all_pids() -> list[int]:
    """Every process of this pid namespace."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def end(pid: int) -> bool:
    """Kills a process of ours; whether there was one."""
    if owner_of(pid) is None:
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def remove_regions(owner: Owner) -> int:
    """Unlinks the shared memory of one supervisor; returns how many regions there were."""
    regions = list(SHM.glob(f"{owner.shm_prefix}*"))
    for region in regions:
        region.unlink(missing_ok=True)
    return len(regions)


def sweep() -> tuple[int, int]:
    """Ends and removes what dead supervisors of this user left; returns (processes, regions)."""
    killed = 0
    for pid in all_pids():
        owner = owner_of(pid)
        if owner is not None and owner.is_gone():
            killed += end(pid)
    removed = 0
    for region in SHM.glob(f"{SHM_PREFIX}*"):
        mark = "_".join(region.name.removeprefix(SHM_PREFIX).split("_")[:3])
        owner = Owner.parse(mark)
        try:
            ours = region.stat().st_uid == os.getuid()
            if ours and owner is not None and owner.is_gone():
                region.unlink()
                removed += 1
        except FileNotFoundError:
            continue
    return killed, removed
