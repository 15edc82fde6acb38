"""A server that speaks the console's API, with made-up data: hostile texts, many functions."""

import asyncio
import json
import time
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

import eventmesh

PAGE = Path(eventmesh.__file__).with_name("console") / "page"
BASE = "/_console"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'self'; "
    "form-action 'none'; frame-ancestors 'none'"
)
TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}


def make_function(name, **members):
    return {
        "name": name,
        "service": name.partition(".")[0],
        "triggers": [],
        "limits": {"timeout": 30.0, "concurrency": 10, "reserved_concurrency": None},
        "retry": {"attempts": 3},
        "on_success": None,
        "on_failure": None,
        "access": "mesh",
        "instances": ["i1"],
        "running": 0,
        "waiting": 0,
        "total": 0,
        "failed": 0,
        "throttled": 0,
        "rate": 0.0,
        "errors": 0.0,
        "mean": None,
        "p50": None,
        "p95": None,
        "p99": None,
        "by_trigger": {},
        **members,
    }


class FakeConsole:
    """The state that it shows, what it was asked to do, and the streams that watch."""

    def __init__(self):
        self.state = {
            name: {}
            for name in (
                "instances",
                "functions",
                "edges",
                "runs",
                "ended",
                "queues",
                "timers",
                "failures",
                "code",
                "log",
            )
        }
        self.me = {
            "principal": "local",
            "scopes": ["invoke", "send", "emit", "read", "manage"],
            "read_only": False,
            "mode": "dev",
            "broker": "memory://",
            "version": "0.1",
            "payloads": True,
        }
        self.answers = {}
        self.posted = []
        self.token = ""
        self._watching = set()

    def change(self, **collections):
        """Change members of the state, and tell who watches; None takes one away."""
        for name, members in collections.items():
            for key, value in members.items():
                if value is None:
                    self.state[name].pop(key, None)
                else:
                    self.state[name][key] = value
        for queue in self._watching:
            queue.put_nowait(("diff", collections))

    def disconnect(self):
        """End all streams."""
        for queue in self._watching:
            queue.put_nowait(None)

    @asynccontextmanager
    async def serve(self, port=0):
        """Serve the page and the API while entered; gives the URL of the page."""
        app = web.Application()
        app.router.add_route("*", f"{BASE}/api/{{rest:.*}}", self._answer)
        app.router.add_get(f"{BASE}/{{rest:.*}}", self._show_file)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", port)
            await site.start()
            port = runner.addresses[0][1]
            yield f"http://127.0.0.1:{port}{BASE}/"
        finally:
            self.disconnect()
            await runner.cleanup()

    async def _show_file(self, request):
        rest = request.match_info["rest"]
        file = PAGE / rest
        if file.suffix not in TYPES or not file.is_file():
            file = PAGE / "index.html"
        headers = {"Content-Security-Policy": CSP, "Cache-Control": "no-cache"}
        body = file.read_bytes()
        return web.Response(body=body, content_type=TYPES[file.suffix], headers=headers)

    async def _answer(self, request):
        rest = request.match_info["rest"]
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return _problem(401, "send a token")
        if request.method == "POST":
            if request.headers.get("X-Eventmesh-Console") != "1":
                return _problem(403, "the header is missing")
            self.posted.append((rest, await request.json()))
        if rest == "me":
            return web.json_response(self.me | {"now": time.time()})
        if rest == "events":
            return await self._stream(request)
        answer = self.answers.get(rest)
        if answer is None:
            return _problem(404, f"nothing answers at {rest}")
        return web.json_response(answer(self) if callable(answer) else answer)

    async def _stream(self, request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        queue = asyncio.Queue()
        self._watching.add(queue)
        try:
            await _write(response, "snapshot", self.state)
            while (event := await queue.get()) is not None:
                await _write(response, *event)
        except ConnectionError:
            pass
        finally:
            self._watching.discard(queue)
        return response


async def _write(response, event, state):
    data = json.dumps({"now": time.time(), **state})
    await response.write(f"event: {event}\ndata: {data}\n\n".encode())


def _problem(status, detail):
    body = {"type": "about:blank", "title": "Refused", "status": status, "detail": detail}
    return web.json_response(body, status=status, content_type="application/problem+json")
