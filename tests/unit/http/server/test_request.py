"""What is read from the headers of a request, where some of their bytes are not UTF-8."""

import pytest
from multidict import CIMultiDict

from eventmesh.http.api.events import parse_event
from eventmesh.http.protocol import MESSAGE_HEADERS
from eventmesh.http.server.request import read_content_type, read_message_headers
from eventmesh.model.errors import Problem

BYTE = "\udcff"
"""How aiohttp tells of the byte 0xFF."""


def test_a_content_type_is_told_without_them():
    asked = CIMultiDict(**{"Content-Type": f"application/json; name={BYTE}"})
    assert read_content_type(asked) == "application/json; name=?"


def test_headers_for_the_invocation_are_refused_with_them():
    assert read_message_headers(CIMultiDict(**{MESSAGE_HEADERS: "place=caf%C3%A9&team=é"})) == {
        "place": "café",
        "team": "é",
    }
    for text in (f"place={BYTE}", "place=%FF"):
        with pytest.raises(Problem) as raised:
            read_message_headers(CIMultiDict(**{MESSAGE_HEADERS: text}))
        assert raised.value.status == 400


def test_an_event_has_its_attributes_without_them():
    attributes = {"ce-specversion": "1.0", "ce-id": "1", "ce-type": "order.placed"}
    event = parse_event(CIMultiDict(**attributes, **{"ce-source": f"/shop{BYTE}"}), b"{}", 0.0)
    assert event.headers["cloudEvents:source"] == "/shop?"
