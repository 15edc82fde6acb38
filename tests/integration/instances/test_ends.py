"""How instances end: at a timeout, out of memory, by themselves, with their service."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import isolated
import pytest
from processes_seen import ended, find_parent, is_alive, list_below

from eventmesh.instances import lifecycle as instance_module
from eventmesh.instances.memory import choose
from eventmesh.model.errors import FunctionError, InvocationTimeout, Throttled

FULL = "EVENTMESH_TEST_FULL" in os.environ


def list_groups():
    """The control groups that were made for this process."""
    return list(Path("/sys/fs/cgroup").rglob(f"eventmesh.{os.getpid()}"))


def start_program(command, **options):
    return subprocess.Popen(command, **options)


def read_lines(file):
    return file.read_text().splitlines() if file.exists() else []


@pytest.mark.parametrize("how", ["Python", "C", "forks"])
async def test_a_timeout_kills_the_process_with_all_that_it_started(
    hosted, open_folder, manual_clock, until, soon, how
):
    file, count = open_folder / "pids", 3 if how == "forks" else 1
    async with hosted(isolated.app, clock=manual_clock) as host:
        call = host.caller.invoke("isolated.spins", {"how": how, "file": str(file)})
        spins = asyncio.create_task(call)
        await until(lambda: len(read_lines(file)) == count)
        await manual_clock.advance(2)
        with pytest.raises(InvocationTimeout, match="timeout of 2 s"):
            await soon(spins)
        pids = [int(line) for line in read_lines(file)]
        assert await ended(pids)
        # The function goes on.
        assert await host.caller.invoke("isolated.recycled") not in pids


@pytest.fixture
def share(open_folder, until):
    """Begin a run of the function whose instance has several, which returns it once it runs."""

    async def share(host, how, timeout):
        file = open_folder / "runs"
        payload = {"how": how, "file": str(file)}
        call = host.caller.invoke("isolated.shared", payload, timeout=timeout)
        begun = asyncio.create_task(call)
        await until(lambda: how in read_lines(file))
        return begun

    return share


async def test_a_run_that_is_cancelled_by_its_caller_ends(hosted, manual_clock, share, soon):
    async with hosted(isolated.app, clock=manual_clock) as host:
        waits = await share(host, "waits", 0.3)
        await manual_clock.advance(0.3)
        with pytest.raises(InvocationTimeout):
            await soon(waits)
        assert await soon(host.caller.invoke("isolated.shared", {"how": "quick"})) == "quick"


async def test_neighbours_of_a_run_that_blocks_are_throttled(hosted, manual_clock, share, soon):
    """It spends none of their attempts: a queue delivers them again."""
    async with hosted(isolated.app, clock=manual_clock) as host:
        waits = await share(host, "waits", 20)
        blocks = await share(host, "blocks", 0.6)
        await manual_clock.advance(0.6)
        with pytest.raises(InvocationTimeout):
            await soon(blocks)
        await manual_clock.advance(instance_module.CANCEL_TIMEOUT)
        with pytest.raises(Throttled, match="because of another run"):
            await soon(waits)
        assert await host.caller.invoke("isolated.shared", {"how": "quick"}) == "quick"


@pytest.mark.parametrize("limited_by", ["what the machine has", "watchdog"])
async def test_too_much_memory_is_an_error_that_says_so(hosted, monkeypatch, caplog, limited_by):
    if limited_by == "watchdog":
        monkeypatch.setattr(choose, "find_cgroups", lambda: None)
    async with hosted(isolated.app) as host:
        assert await host.caller.invoke("isolated.eats", {"megabytes": 8}) == 8 * 2**20
        with pytest.raises(FunctionError, match="more than its memory of 96 MiB") as error:
            await host.caller.invoke("isolated.eats", {"megabytes": 300})
        assert error.value.type == "Runtime.OutOfMemory"
        assert await host.caller.invoke("isolated.eats", {"megabytes": 8}) == 8 * 2**20
        metrics = {
            (family.name, sample.labels.get("function")): sample.value
            for family in host.metrics.registry.collect()
            for sample in family.samples
        }
    assert metrics["eventmesh_instance_out_of_memory", "isolated.eats"] == 1
    assert metrics["eventmesh_instance_memory_peak_bytes", "isolated.eats"] > 90 * 2**20
    assert "took more than its 96 MiB of memory and was killed" in caplog.text


@pytest.mark.parametrize(
    ("how", "text"), [(7, "exit status 7"), (0, "exit status 0"), (-11, "signal SIGSEGV")]
)
async def test_a_process_that_ends_fails_its_run(hosted, how, text):
    async with hosted(isolated.app) as host:
        with pytest.raises(FunctionError, match=text) as error:
            await host.caller.invoke("isolated.ends", {"how": how})
    assert error.value.type == "Runtime.ExitError"
    assert str(isolated.__file__) not in str(error.value)


async def test_the_last_lines_are_with_the_error(hosted, caplog):
    async with hosted(isolated.app) as host:
        with pytest.raises(FunctionError):
            await host.caller.invoke("isolated.ends", {"how": 7})
    logged = [record for record in caplog.records if record.name == "eventmesh.invocations"]
    assert "the last words" in logged[-1].exc_text


async def test_what_cannot_start_says_why(hosted, caplog):
    async with hosted(isolated.broken) as host:
        with pytest.raises(FunctionError, match="there is no database") as error:
            await host.caller.invoke("broken.never")
    assert error.value.type == "Runtime.InitError"
    assert "about to fail" in caplog.text


async def test_what_is_not_ready_in_time_is_killed(hosted, monkeypatch):
    monkeypatch.setattr(instance_module, "INIT_TIMEOUT", 0.5)
    before = set(list_below())
    async with hosted(isolated.slow) as host:
        with pytest.raises(FunctionError, match="was not ready within"):
            await host.caller.invoke("slow.never")
        assert len(list_below(besides=before)) == 1, "the zygote, and no instance"


async def test_each_serves_so_many_and_idle_ones_end(hosted):
    async with hosted(isolated.app) as host:
        first = [await host.caller.invoke("isolated.recycled") for _ in range(4)]
        assert first[0] == first[1] != first[2] == first[3]
        assert await ended(first[:2])
        assert await ended([await host.caller.invoke("isolated.idle")])


async def test_provisioned_ones_are_there_before_and_after(hosted):
    async with hosted(isolated.app) as host:
        pid = await host.caller.invoke("isolated.kept")
        assert await host.caller.invoke("isolated.kept") == pid
        os.kill(pid, signal.SIGKILL)
        assert await ended([pid])
        async with asyncio.timeout(60):
            while True:
                try:
                    other = await host.caller.invoke("isolated.kept")
                except FunctionError:  # The service had not heard of its end yet.
                    continue
                break
        assert other != pid
        assert is_alive(other)


async def test_an_instance_that_sends_junk_is_killed(hosted, caplog):
    async with hosted(isolated.app) as host:
        for how in ("length", "kind"):
            with pytest.raises(FunctionError, match="ended in the middle"):
                await host.caller.invoke("isolated.breaks", {"how": how})
        assert await host.caller.invoke("isolated.recycled")
    assert "broke its connection and is killed" in caplog.text


async def test_the_next_call_starts_another_zygote(hosted):
    async with hosted(isolated.app) as host:
        pid = await host.caller.invoke("isolated.kept")
        zygote = find_parent(pid)
        os.kill(zygote, signal.SIGKILL)
        assert await ended([pid, zygote])
        async with asyncio.timeout(60):
            while True:
                try:
                    other = await host.caller.invoke("isolated.kept")
                except (FunctionError, Throttled):
                    continue
                break
        assert other != pid


async def test_nothing_is_left_when_the_service_is_killed():
    script = textwrap.dedent(
        """
        import asyncio
        import isolated
        from eventmesh.brokers.memory import MemoryBroker
        from eventmesh.host import host_services
        from eventmesh.model.settings import Settings

        async def main():
            async with (
                MemoryBroker() as broker,
                host_services([isolated.app], broker, Settings(http_port=0), http=None) as host,
            ):
                print(await host.caller.invoke("isolated.kept"), flush=True)
                await asyncio.sleep(600)

        asyncio.run(main())
        """
    )
    with start_program(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as service:
        assert await asyncio.to_thread(service.stdout.readline)
        below = list_below(service.pid)
        service.kill()
    assert len(below) >= 2
    assert await ended(below)


def count_descriptors(pid):
    """How many sockets, pipes and files a process has open, of each kind."""
    kinds = Counter()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        # That of the folder is closed by now, and the zygote's are not root's in a container.
        with suppress(FileNotFoundError, PermissionError):
            kinds[str(descriptor.readlink()).partition(":")[0]] += 1
    return kinds


async def test_nothing_is_left_after_many_kills(hosted, caplog, record_figure, until):
    """Timeouts, memory, crashes and exits in turns, each with children that would live on."""
    kills = 1_000 if FULL else 60
    caplog.set_level(logging.CRITICAL)
    before = set(list_below())
    late = []
    async with hosted(isolated.app) as host:

        async def be_killed(number):
            how = ("loop", "memory", "crash", "status", "kill")[number % 5]
            if how != "loop":
                with pytest.raises(FunctionError) as error:
                    await host.caller.invoke("isolated.dies", {"how": how})
                assert error.value.type.endswith("OutOfMemory" if how == "memory" else "ExitError")
                return
            started = time.monotonic()
            with pytest.raises(InvocationTimeout):
                await host.caller.invoke("isolated.loops")
            late.append(time.monotonic() - started - 0.4)

        def count_instances():
            families = host.metrics.registry.collect()
            [instances] = [each for each in families if each.name == "eventmesh_instances"]
            return sum(sample.value for sample in instances.samples)

        def is_settled():
            # The zygote, and the instance that is kept; all else has been closed, too.
            return len(list_below(besides=before)) <= 2 and count_instances() == 1

        for number in range(5):
            await be_killed(number)
        await until(is_settled)
        zygote = find_parent(await host.caller.invoke("isolated.kept"))
        held = {pid: count_descriptors(pid) for pid in (os.getpid(), zygote)}
        started = time.monotonic()
        numbers = iter(range(kills))

        async def be_killed_in_turn():
            for number in numbers:
                await be_killed(number)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(be_killed_in_turn())
        took = time.monotonic() - started
        await until(is_settled)
        await until(lambda: {pid: count_descriptors(pid) for pid in held} == held)
        # Version 1 or 2: the groups of instances are folders; only the kept instance has one.
        assert len([group for each in list_groups() for group in each.glob("*/")]) <= 1
    late.sort()
    record_figure(
        f"instances: {kills:,} kills in {took:.0f} s, 4 at once; {len(late)} C loops of them ended "
        f"{late[len(late) // 2] * 1000:.0f} ms after their timeout (median; most: "
        f"{late[-1] * 1000:.0f} ms); no process, descriptor or control group is left"
    )
    assert list_below(besides=before) == []
    assert list_groups() == []
