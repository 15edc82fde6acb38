"""A console that people log in to, and browsers without a screen that do."""

import socket
from contextlib import asynccontextmanager

import aiohttp
from fake_oidc import CLIENT
from yarl import URL

from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.console.api import ConsoleOptions
from eventmesh.console.serve import serve_console
from eventmesh.console.sources import open_mesh_source
from eventmesh.host import host_services
from eventmesh.model.settings import Settings
from eventmesh.presence import announce
from eventmesh.processes.instance_info import build_instance
from eventmesh.processes.looking import build_look

ROOT = "/_console/"
SESSION = "eventmesh-console-"
PURGE = "queues/em.dead.shop.sell/purge"
"""A change that needs the scope `manage`, and fails with 422: no name was typed."""
CHANGE = {"X-Eventmesh-Console": "1"}


@asynccontextmanager
async def open_console(provider, services=(), named="127.0.0.1", **settings):
    """Serve a console, whose people log in at a provider, while entered; gives its origin.

    It is that of a mesh of one process with those services. `named` is what browsers call it.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    origin = f"http://{named}:{listener.getsockname()[1]}"
    given = Settings(
        **{
            "http_fd": listener.detach(),
            "console_url": origin,
            "console_oidc_issuer": provider.url,
            "console_oidc_client_id": CLIENT,
            "console_oidc_client_secret": provider.secret,
            **settings,
        }
    )
    clock = SystemClock()
    async with (
        MemoryBroker() as broker,
        host_services(services, broker, given, http=None) as host,
        announce(broker, clock, build_instance(host, services, given, clock), build_look(host)),
        open_mesh_source(broker, None) as source,
        serve_console(source, given, ConsoleOptions("console")),
    ):
        yield origin


class Browser:
    """Keeps cookies, and follows redirects one by one."""

    def __init__(self, origin):
        self.origin = origin
        self.http = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.http.close()

    async def get(self, url, **options):
        """The answer to a request, whose redirect is not followed, and its text."""
        url = URL(url, encoded=True)
        async with self.http.get(url, allow_redirects=False, **options) as answer:
            return answer, await answer.text()

    async def begin(self, to=""):
        """Begin a login, up to the address that the provider sends the browser back to."""
        answer, text = await self.get(f"{self.origin}{ROOT}login?to={to}")
        assert answer.status == 303, text
        answer, text = await self.get(answer.headers["Location"])
        return answer.headers["Location"]

    async def log_in(self, to=""):
        """Log in; gives the last answer, and its text."""
        return await self.get(await self.begin(to))

    async def me(self, **options):
        answer, _ = await self.get(f"{self.origin}{ROOT}api/me", **options)
        return answer.status, await answer.json(content_type=None)

    async def post(self, path, headers):
        """The status of a change that is asked for."""
        url = f"{self.origin}{ROOT}api/{path}"
        async with self.http.post(url, json={}, headers=headers) as answer:
            await answer.read()
            return answer.status

    async def log_out(self):
        return await self.post("logout", CHANGE | {"Origin": self.origin})

    async def is_out(self):
        return (await self.me())[0] == 401

    @property
    def session(self):
        """The text of the session's cookie; None without one."""
        found = (text for name, text in self.cookies.items() if name.startswith(SESSION))
        return next(found, None)

    @property
    def cookies(self):
        return {each.key: each.value for each in self.http.cookie_jar}

    def plant(self, name, value):
        """Have a cookie that somebody else chose."""
        self.http.cookie_jar.update_cookies({name: value}, URL(self.origin))
