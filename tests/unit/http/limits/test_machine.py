import pytest

from eventmesh.http.limits.machine import find_descriptors, find_memory

MIB = 1024 * 1024


@pytest.fixture
def machine(tmp_path):
    """A machine whose files of control groups are these."""

    def make(groups, files):
        for path, text in {"proc/self/cgroup": groups, **files}.items():
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return find_memory(tmp_path)

    return make


def test_version_2_of_control_groups(machine):
    assert machine("0::/app\n", {"sys/fs/cgroup/app/memory.max": f"{7 * MIB}\n"}) == 7 * MIB


def test_a_group_above_counts_too(machine):
    files = {"a/b/memory.max": "max\n", "a/memory.max": f"{9 * MIB}\n", "memory.max": "max\n"}
    found = {f"sys/fs/cgroup/{path}": text for path, text in files.items()}
    assert machine("0::/a/b\n", found) == 9 * MIB


def test_version_1_of_control_groups(machine):
    groups = "5:cpu:/\n4:memory:/docker/abc\n0::/\n"
    limit = "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes"
    assert machine(groups, {limit: f"{8 * MIB}\n"}) == 8 * MIB


def test_a_container_sees_its_group_as_the_mount_itself(machine):
    limit = "sys/fs/cgroup/memory/memory.limit_in_bytes"
    assert machine("4:memory:/docker/abc\n", {limit: f"{8 * MIB}\n"}) == 8 * MIB


def test_without_a_limit_it_is_what_the_machine_has(machine, tmp_path):
    unlimited = "sys/fs/cgroup/memory/memory.limit_in_bytes"
    has = find_memory(tmp_path)
    assert has > 64 * MIB
    assert machine("4:memory:/\n0::/\n", {unlimited: "9223372036854771712\n"}) == has


def test_the_descriptors_are_those_of_this_process():
    assert find_descriptors() >= 16
