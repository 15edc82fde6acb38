"""Frames arrive whole and in order, however the socket cuts them; junk ends the connection."""

import asyncio
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmesh.instances.wire.frames import FrameError, Frames, Kind, read_json


class Pair:
    """Two ends in one event loop."""

    def __init__(self, most: int = 1_000) -> None:
        self.got: list[tuple[Kind, int, bytes, bytes]] = []
        self.closed = asyncio.Event()
        self.error: Exception | None = None
        self._most = most

    def _take(self, *frame) -> None:
        self.got.append(frame)

    def _close(self, error) -> None:
        self.error = error
        self.closed.set()

    async def open(self):
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        _, self.receiver = await loop.create_connection(
            lambda: Frames(self._take, self._close, self._most), sock=ours
        )
        _, self.sender = await loop.create_connection(
            lambda: Frames(self._take, lambda _: None, self._most), sock=theirs
        )
        self.raw = theirs
        return self


@given(
    frames=st.lists(st.tuples(st.integers(0, 2**32 - 1), st.binary(max_size=40)), max_size=6),
    size=st.integers(1, 64),
)
def test_they_arrive_however_they_are_cut(frames, size):
    got, sent = [], bytearray()

    class Transport:
        def is_closing(self):
            return False

        def write(self, data):
            sent.extend(data)

    sender = Frames(lambda *_: None, lambda _: None, 1_000)
    sender.connection_made(Transport())
    for number, body in frames:
        sender.send(Kind.RESULT, number, {"n": number}, body)
    receiver = Frames(lambda *frame: got.append(frame), lambda _: None, 1_000)
    receiver.connection_made(Transport())
    for start in range(0, len(sent), size):
        receiver.data_received(bytes(sent[start : start + size]))
    assert [(number, body) for _, number, _, body in got] == frames
    assert [read_json(head)["n"] for _, _, head, _ in got] == [number for number, _ in frames]


@pytest.mark.parametrize(
    "junk",
    [
        b"\xff" * 64,
        b"\x00\x00\x00\x03abc",
        b"\x00\x00\x00\x09\x63" + bytes(8),
        b"\x00\x00\x00\x0a\x13" + bytes(4) + b"\x00\x00\x00\x05x",
        b"\x00\x00\x04\x00",
    ],
)
async def test_junk_ends_the_connection(junk):
    pair = await Pair().open()
    pair.raw.send(junk)
    async with asyncio.timeout(60):
        await pair.closed.wait()
    assert isinstance(pair.error, FrameError)
    assert pair.got == []
    pair.sender.close()


async def test_what_is_sent_after_the_end_is_dropped():
    pair = await Pair().open()
    pair.sender.close()
    async with asyncio.timeout(60):
        await pair.closed.wait()
    assert pair.error is None
    pair.receiver.send(Kind.RUN, 1)


@pytest.mark.parametrize("head", [b"", b"[1]", b"7", b"{"])
def test_a_head_is_an_object(head):
    with pytest.raises(FrameError):
        read_json(head)
