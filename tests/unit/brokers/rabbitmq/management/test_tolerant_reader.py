"""Frames as aiormq reads them once `eventmesh.brokers.rabbitmq` has been imported."""

import asyncio
from struct import pack

import aiormq.connection
import pytest
from aiormq.exceptions import InvalidFrameError
from pamqp.commands import Basic
from pamqp.frame import marshal
from pamqp.header import ContentHeader

from eventmesh.brokers.rabbitmq.management.tolerant_reader import TolerantReceiver, read_tolerantly

CONTENT_TYPE, TIMESTAMP = 0x8000, 0x0040


def header(flags, properties, *, channel=3, size=12):
    payload = pack(">HHQH", 60, 0, size, flags) + properties
    return pack(">BHI", 2, channel, len(payload)) + payload + b"\xce"


async def receive(*frames):
    reader = asyncio.StreamReader()
    reader.feed_data(b"".join(frames))
    reader.feed_eof()
    receiver = TolerantReceiver(reader)
    return [await receiver.get_frame() for _ in frames]


@pytest.mark.parametrize(
    ("flags", "properties"),
    [
        (CONTENT_TYPE, b"\x02\xff\xfe"),
        (TIMESTAMP, pack(">Q", 2**63)),
    ],
    ids=["not UTF-8", "a time in no year"],
)
async def test_properties_that_cannot_be_decoded_are_left_out(flags, properties):
    bad = header(flags, properties)
    ack = marshal(Basic.Ack(7), 3)
    (read, channel, found), (_, _, after) = await receive(bad, ack)
    assert (read, channel, found.body_size) == (len(bad), 3, 12)
    assert found.properties.content_type is None
    assert found.properties.timestamp is None
    assert after.delivery_tag == 7


async def test_properties_that_can_be_decoded_arrive():
    good = marshal(ContentHeader(0, 5, Basic.Properties(content_type="text/plain")), 1)
    ((_, _, found),) = await receive(good)
    assert found.properties.content_type == "text/plain"


async def test_what_is_no_header_is_still_an_error():
    unknown_method = pack(">BHIHH", 1, 3, 4, 999, 999) + b"\xce"
    with pytest.raises(InvalidFrameError):
        await receive(unknown_method)


async def test_a_header_is_not_taken_for_a_later_frame():
    """What was read before an error is that of one frame alone."""
    good = marshal(ContentHeader(0, 5, Basic.Properties()), 1)
    unknown_method = pack(">BHIHH", 1, 3, 4, 999, 999) + b"\xce"
    with pytest.raises(InvalidFrameError):
        await receive(good, unknown_method)


def test_all_connections_of_the_process_read_this_way():
    read_tolerantly()
    assert aiormq.connection.FrameReceiver is TolerantReceiver
