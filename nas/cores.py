"""How many processors this process may use: those it is bound to, and no more than its container's quota allows.

A quota (docker's --cpus, Kubernetes' limits) stands in Linux's control groups:

https://docs.kernel.org/admin-guide/cgroup-v2.html (cpu.max) and https://docs.kernel.org/scheduler/sched-bwc.html (version 1).
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

OWN_GROUPS, MOUNTED = "proc/self/cgroup", "sys/fs/cgroup"


def num_cores() -> int:
    """The cores that this process may use: those it is bound to, and no more than its container's quota, rounded down."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, int(cpu_quota() or cores)))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Processors that the smallest quota on this process's groups allows; None where there is none, or no control groups."""
    return min(_quotas(root), default=None)


def _quotas(root: Path) -> Iterator[float]:
    """The quota of each group, from this process's own up to the root of what is mounted."""
    for line in (_text(root / OWN_GROUPS) or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        for mount in _mounts(root / MOUNTED, controllers.split(",")):
            for folder in _upwards(mount, group):
                quota = _version_1(folder) if controllers else _version_2(folder)
                if quota is not None:
                    yield quota


def _mounts(mounted: Path, controllers: list[str]) -> list[Path]:
    """Where the groups of these controllers lie; version 2 has none to name, and lies aside where both are in use."""
    if controllers == [""]:
        return [mounted, mounted / "unified"]
    return [mounted / ",".join(controllers), mounted / "cpu"] if "cpu" in controllers else []


def _upwards(mount: Path, group: str) -> list[Path]:
    """A group's folder and those above it; a path that a container sees of its host's groups may not be there."""
    path = PurePosixPath(*(part for part in PurePosixPath(group).parts if part not in ("/", "..")))
    return [mount / each for each in (path, *path.parents)]


def _version_2(folder: Path) -> float | None:
    """cpu.max: microseconds of work and of wall clock, such as "150000 100000", or "max 100000"."""
    return _ratio((_text(folder / "cpu.max") or "").split())


def _version_1(folder: Path) -> float | None:
    """cpu.cfs_quota_us (-1 for none) and cpu.cfs_period_us."""
    return _ratio([*(_text(folder / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period"))])


def _ratio(words: list[str]) -> float | None:
    with suppress(ValueError):  # "max", an empty file, or what no kernel writes
        work, wall = (int(word) for word in words)
        return work / wall if work > 0 and wall > 0 else None
    return None


def _text(path: Path) -> str | None:
    with suppress(OSError, UnicodeError):
        return path.read_text()
    return None
