"""Frames of AWS's event streams, as botocore's own reader takes them apart."""

import json

import pytest
from botocore.eventstream import EventStreamBuffer

from eventmesh.http.api.aws_lambda.event_stream import MAX_CHUNK, encode_chunk, encode_complete


def read(data):
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return list(buffer)


@pytest.mark.parametrize("payload", [b"x", bytes(range(256)), b"y" * MAX_CHUNK])
def test_a_part(payload):
    (message,) = read(encode_chunk(payload))
    assert message.payload == payload
    assert message.headers == {
        ":event-type": "PayloadChunk",
        ":content-type": "application/octet-stream",
        ":message-type": "event",
    }


def test_a_large_part_is_several_messages():
    messages = read(encode_chunk(b"z" * (2 * MAX_CHUNK + 1)))
    assert [len(message.payload) for message in messages] == [MAX_CHUNK, MAX_CHUNK, 1]


def test_no_part_is_no_message():
    assert encode_chunk(b"") == b""


def test_the_end():
    (message,) = read(encode_complete({"ErrorCode": "Unhandled", "ErrorDetails": "é"}))
    assert message.headers[":event-type"] == "InvokeComplete"
    assert json.loads(message.payload) == {"ErrorCode": "Unhandled", "ErrorDetails": "é"}
