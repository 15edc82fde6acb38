"""Which instances were killed for their memory, where the kernel only counts its kills."""

import asyncio

import pytest

from eventmesh.instances.memory import cgroups, watchdog
from eventmesh.instances.memory.cgroups import V1, V2, find_kill_counter
from eventmesh.instances.memory.watchdog import WatchdogLimiter, measure_tree

LIMIT = 100


@pytest.fixture
def kills(monkeypatch):
    """How many processes of the container the kernel has killed for want of memory."""
    counted = [3]
    monkeypatch.setattr(watchdog, "find_kill_counter", lambda: lambda: counted[0])
    return counted


@pytest.mark.parametrize(
    ("more", "killed", "excess"),
    [(1, True, "machine"), (1, False, None), (0, True, None)],
)
async def test_a_kill_is_put_down_to_memory_if_the_kernel_counts_one(kills, more, killed, excess):
    async with asyncio.TaskGroup() as tasks:
        group = WatchdogLimiter().open("f.1", LIMIT, tasks)
        kills[0] += more
        assert group.find_excess(7, killed=killed) == excess
        await group.close()


async def test_an_old_kill_explains_nothing(kills, monkeypatch):
    async with asyncio.TaskGroup() as tasks:
        group = WatchdogLimiter().open("f.1", LIMIT, tasks)
        kills[0] += 1
        assert group.find_excess(7, killed=True) == "machine"
        monkeypatch.setattr(watchdog, "RECENT", 0.0)
        assert group.find_excess(7, killed=True) is None
        await group.close()


async def test_what_takes_more_than_its_limit_is_killed_and_says_so(kills, monkeypatch):
    monkeypatch.setattr(watchdog, "measure_tree", lambda _: LIMIT + 1)
    killed = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        group = WatchdogLimiter().open("f.1", LIMIT, tasks)
        group.watch(1, killed.set)
        await asyncio.wait_for(killed.wait(), 60)
        assert group.find_excess(0, killed=True) == "limit"
        assert group.peak() == LIMIT + 1
        await group.close()


@pytest.mark.parametrize("files", [V1, V2], ids=["v1", "v2"])
def test_kills_are_counted_where_no_group_may_be_made(tmp_path, monkeypatch, files):
    (tmp_path / files.events).write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n")
    monkeypatch.setattr(cgroups, "find_own", lambda *_: tmp_path)
    assert find_kill_counter()() == 5


def test_no_kills_are_counted_where_there_are_no_groups(monkeypatch):
    monkeypatch.setattr(cgroups, "find_own", lambda *_: None)
    assert find_kill_counter()() == 0


def test_files_that_all_share_are_not_counted_for_another_user_s(tmp_path, monkeypatch):
    status = "VmRSS:\t  90000 kB\nRssAnon:\t   3000 kB\nRssFile:\t  86000 kB\nRssShmem:\t 1000 kB\n"
    (tmp_path / "proc" / "7").mkdir(parents=True)
    (tmp_path / "proc" / "7" / "status").write_text(status)
    monkeypatch.setattr(watchdog, "Path", lambda path: tmp_path / path.lstrip("/"))
    monkeypatch.setattr(watchdog, "list_tree", lambda pid: [pid])
    assert measure_tree(7) == 4000 * 1024
