import pytest

from eventmesh.model.trace_context import MAX_MEMBERS, MAX_STATE, parse_parent, parse_state

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_parent_is_written_in_the_version_that_is_known():
    assert str(parse_parent([PARENT])) == PARENT
    assert str(parse_parent([f"cc{PARENT[2:]}-later"])) == PARENT


@pytest.mark.parametrize("text", ["", "\udcff", PARENT + "\n", PARENT.upper(), PARENT + "-"])
def test_what_is_no_parent(text):
    assert parse_parent([text]) is None


def test_a_state_that_is_too_long_loses_large_members_first_and_then_from_its_end():
    large, small = f"large={'x' * 200}", [f"k{n:02}={'x' * 40}" for n in range(9)]
    state = parse_state([large, ",".join(small), f"other={'y' * 150}"])
    assert state == ",".join(small)
    assert len(state) <= MAX_STATE
    members = [f"k{n:02}={'x' * 40}" for n in range(20)]
    assert parse_state(members) == ",".join(members[:11])


def test_a_state_of_too_many_members_is_none():
    members = [f"k{n}=1" for n in range(MAX_MEMBERS + 1)]
    assert parse_state(members) == ""
    assert parse_state(members[1:]) == ",".join(members[1:])


@pytest.mark.parametrize("text", ["=1", "a", "a=\udcff", "a=é", "a=1\n", "a=1,b", f"a={'x' * 257}"])
def test_what_is_no_state(text):
    assert parse_state([text]) == ""


def test_members_may_be_empty():
    assert parse_state([",a=1,,b=2 ,"]) == "a=1,b=2"
