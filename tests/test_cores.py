"""How many processors a container's control groups allow, of both versions, as the kernel writes it."""

import os

import pytest

from nas.cores import cpu_quota, num_cores


@pytest.fixture
def machine(tmp_path):
    """A root of files with these texts."""

    def made(groups: str | None, **files: str):
        texts = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
        if groups is not None:
            texts["proc/self/cgroup"] = groups
        for name, text in texts.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return made


@pytest.mark.parametrize(
    ("text", "quota"),
    [
        ("150000 100000\n", 1.5),
        ("max 100000\n", None),
        ("50000 100000", 0.5),
        ("", None),
        ("many", None),
        ("100000", None),
        ("-1 100000", None),
        ("100000 0", None),
        ("1 2 3", None),
    ],
)
def test_version_2_gives_work_and_wall_clock(machine, text, quota):
    assert cpu_quota(machine("0::/\n", **{"cpu.max": text})) == quota


@pytest.mark.parametrize(
    ("work", "wall", "quota"),
    [("200000", "100000", 2), ("-1", "100000", None), ("x", "100000", None), ("50000", "", None), ("50000", "0", None)],
)
@pytest.mark.parametrize("mount", ["cpu,cpuacct", "cpu"])
def test_version_1_gives_them_in_two_files(machine, work, wall, quota, mount):
    files = {f"{mount}/docker/ab/cpu.cfs_quota_us": work, f"{mount}/docker/ab/cpu.cfs_period_us": wall}
    assert cpu_quota(machine("4:memory:/docker/ab\n3:cpu,cpuacct:/docker/ab\n", **files)) == quota


def test_the_smallest_quota_on_the_way_up_counts(machine):
    files = {"pod/cpu.max": "300000 100000", "pod/ab/cpu.max": "max 100000", "pod/ab/deep/cpu.max": "800000 100000"}
    assert cpu_quota(machine("0::/pod/ab/deep\n", **files)) == 3


def test_a_group_that_the_container_sees_by_its_hosts_path_is_the_mounted_root(machine):
    assert cpu_quota(machine("0::/kubepods/burstable/pod1/ab\n", **{"cpu.max": "400000 100000"})) == 4
    assert cpu_quota(machine("0::/../../other\n", **{"cpu.max": "400000 100000"})) == 4


def test_where_both_versions_are_in_use_both_are_read(machine):
    files = {"cpu/a/cpu.cfs_quota_us": "300000", "cpu/a/cpu.cfs_period_us": "100000", "unified/b/cpu.max": "200000 100000"}
    assert cpu_quota(machine("2:cpu:/a\n1:name=systemd:/a\n0::/b\n", **files)) == 2


@pytest.mark.parametrize("groups", [None, "", "garbage", "0::", ":::", "7:cpu\n", "\x00"])
def test_where_there_are_no_groups_there_is_no_quota(machine, groups):
    assert cpu_quota(machine(groups)) is None


@pytest.mark.parametrize(("quota", "cores"), [(None, 8), (2.9, 2), (0.5, 1), (8.0, 8), (64.0, 8)])
def test_cores_are_those_of_the_quota_rounded_down_and_never_none(monkeypatch, quota, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr("nas.cores.cpu_quota", lambda: quota)
    assert num_cores() == cores
