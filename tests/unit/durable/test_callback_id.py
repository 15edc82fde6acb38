"""The ids of callbacks."""

import base64

import pytest

from eventmesh.durable.callback_id import CallbackAddress, new_callback_id, read_callback_id
from eventmesh.durable.errors import CallbackNotOpen
from tests.unit.durable.executions import Run


def test_an_id_says_where_its_callback_is() -> None:
    id = new_callback_id(Run().execution, "c")
    assert read_callback_id(id) == CallbackAddress("orders.place", "e1", "c")
    assert id != new_callback_id(Run().execution, "c")


@pytest.mark.parametrize("id", ["", "no", "!", base64.b64encode(b"a\nb").decode(), "A" * 1028])
def test_what_is_no_id_finds_nothing(id: str) -> None:
    with pytest.raises(CallbackNotOpen, match="no callback of that id"):
        read_callback_id(id)
