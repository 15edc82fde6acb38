"""A service that would have a gateway send more than one response to its client."""

import asyncio
import json

import pytest
from waiting import DEADLINE

from eventmesh import Service, on
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.gateway.relay import RemoteRoutes
from eventmesh.http.protocol import RELAYED_RESPONSE
from eventmesh.model.result import Result
from eventmesh.model.settings import Settings
from eventmesh.processes.worker import serve_gateway, serve_services

SETTINGS = Settings(http_port=0)
SECOND = "HTTP/1.1 200 OK\r\nX-Injected: yes\r\nContent-Length: 5\r\n\r\nsplit"
HEAD = {"status": 200, "content_type": "text/plain", "headers": {}}
FORGED = [
    {"status": f"200 OK\r\nContent-Length: 0\r\n\r\n{SECOND}"},
    {"content_type": f"text/plain\r\nContent-Length: 0\r\n\r\n{SECOND}"},
    {"headers": {"X-One": f"1\r\nContent-Length: 0\r\n\r\n{SECOND}"}},
    {"headers": {f"X-One: 1\r\nContent-Length: 0\r\n\r\n{SECOND}": "1"}},
    {"status": 101},
    {"status": 99999},
]


@pytest.mark.parametrize("forged", FORGED, ids=range(len(FORGED)))
async def test_a_client_gets_one_response(monkeypatch, forged):
    service = Service("evil")

    @service.function(on.get("/report"))
    async def report() -> None: ...

    async def answer(self, message):
        head = json.dumps(HEAD | forged).encode()
        return Result(head + b"\nhello", content_type=RELAYED_RESPONSE)

    monkeypatch.setattr(RemoteRoutes, "answer", answer)
    async with (
        MemoryBroker() as broker,
        serve_services([service], broker, SETTINGS),
        serve_gateway(broker, SETTINGS) as gateway,
    ):
        port = int(gateway.addresses["http"].rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /report HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(DEADLINE):
            answered = await reader.read()
        writer.close()
    assert answered.startswith(b"HTTP/1.1 502 ")
    assert answered.count(b"HTTP/1.1 ") == 1
    assert b"X-Injected" not in answered
