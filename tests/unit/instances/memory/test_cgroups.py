"""Where this process may limit memory by control groups."""

import asyncio

import pytest

from eventmesh.instances.memory import cgroups
from eventmesh.instances.memory.cgroups import V1, V2, CgroupLimiter, find_cgroups, find_own
from eventmesh.instances.memory.choose import choose_limiter
from eventmesh.instances.memory.watchdog import WatchdogLimiter


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine whose own files say what the test wants."""

    def machine(mounts, groups):
        texts = {"/proc/self/mountinfo": mounts, "/proc/self/cgroup": groups}
        monkeypatch.setattr(cgroups, "read_file", texts.__getitem__)

    return machine


def mount(target, kind, *, root="/", options="rw"):
    return f"30 20 0:26 {root} {target} rw,nosuid - {kind} none {options}\n"


@pytest.mark.parametrize("root", ["/", "/docker/x"])
def test_version_1_is_found_below_its_mount(machine, tmp_path, root):
    own = tmp_path / "svc"
    own.mkdir()
    machine(
        mount("/elsewhere", "cgroup", options="rw,cpu")
        + mount(tmp_path, "cgroup", root=root, options="rw,memory"),
        f"3:cpu:/\n4:memory:{'' if root == '/' else root}/svc\n0::/\n",
    )
    assert find_own(*map(cgroups.read_file, FILES), "memory") == own


FILES = ("/proc/self/mountinfo", "/proc/self/cgroup")


def test_version_2_is_found(machine, tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    machine(mount(tmp_path, "cgroup2"), "0::/a/b\n")
    assert find_own(*map(cgroups.read_file, FILES), "") == tmp_path / "a" / "b"


@pytest.mark.parametrize("groups", ["", "0::/nowhere\n", "4:memory:/nowhere\n"])
def test_none_is_found_where_there_is_none(machine, tmp_path, groups):
    machine(mount(tmp_path, "cgroup2") + mount(tmp_path, "cgroup", options="memory"), groups)
    assert find_cgroups() is None
    assert isinstance(choose_limiter(), WatchdogLimiter)


@pytest.mark.parametrize("files", [V1, V2], ids=["v1", "v2"])
async def test_the_limit_and_what_happened_are_in_its_files(tmp_path, files):
    group = CgroupLimiter(tmp_path, files).open("f.1", None, None)
    folder = tmp_path / "f.1"
    # In version 1 without a wait for all forks of the machine.
    assert group.procs == str(folder / ("tasks" if files is V1 else "cgroup.procs"))
    assert group.peak() is None
    assert group.find_excess(4096, killed=True) is None
    (folder / files.peak).write_text("4096\n")
    (folder / files.events).write_text("low 0\noom_kill 1\n")
    assert group.peak() == 4096
    assert group.find_excess(4096, killed=True) == "machine"
    for file in folder.iterdir():
        file.unlink()
    await group.close()
    assert not folder.exists()


async def test_a_group_that_does_not_go_is_told(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(cgroups, "_WAITS", (0.0, 0.0))
    group = CgroupLimiter(tmp_path, V1).open("f.1", None, None)
    (tmp_path / "f.1" / "busy").write_text("")
    async with asyncio.timeout(60):
        await group.close()
    assert "is left behind" in caplog.text


def test_a_limit_that_cannot_be_set_leaves_nothing(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError("no")

    monkeypatch.setattr(cgroups, "_set_limit", refuse)
    with pytest.raises(PermissionError):
        CgroupLimiter(tmp_path, V2).open("f.1", 4096, None)
    assert list(tmp_path.iterdir()) == []
