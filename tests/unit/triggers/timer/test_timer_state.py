"""The state of a timers' lease, which whoever may write to its queue may forge."""

import pytest

from eventmesh.triggers.timer.state import LATEST, load_positions


@pytest.mark.parametrize(
    "state", [b"", b"[]", b"{", b"\xff", b"null", b'{"a":"1"}', b'{"a":true}', b'{"a":1.5}']
)
def test_what_is_no_state_counts_as_empty(state):
    assert load_positions(state) == {}


@pytest.mark.parametrize("position", [-1, LATEST, 2**63, 2**64 - 1])
def test_a_position_with_which_no_schedule_could_go_on_is_left_out(position):
    assert load_positions(b'{"a":%d,"b":7}' % position) == {"b": 7}
