"""The URLs of stores: `sqlite:///FILE` and `postgresql://…`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from eventmesh.model.errors import SettingsError
from eventmesh.model.settings import STORES, redacted, scheme_of
from eventmesh.model.value import value

_LIBRARIES: Final = ("sqlalchemy", "alembic", "greenlet")
_DRIVERS: Final = {"postgresql": "asyncpg", "sqlite": "aiosqlite"}
_POOLER: Final = "pgbouncer"
_FILE_OPTION: Final = "password_file"


@value
class StoreUrl:
    """Where a store is. Its repr shows no password.

    `dialect` is "postgresql" or "sqlite". `address` is the file, "" for a database in memory, or
    the URL for the driver. Behind a `pooler` that lends connections for single transactions,
    nothing is prepared in one. The first line of `password_file` is the password.
    """

    dialect: str
    address: str
    pooler: bool = False
    password_file: str = ""

    def __repr__(self) -> str:
        return f"StoreUrl({self.shown!r})"

    @property
    def shown(self) -> str:
        """The URL without user, password and options."""
        return redacted(self.address) if self.dialect == "postgresql" else f"sqlite:///{self.file}"

    @property
    def file(self) -> str:
        """The file of a SQLite database."""
        return self.address or ":memory:"

    def read_password(self) -> str | None:
        """Return what the file says now; None without one. Raises SettingsError."""
        if not self.password_file:
            return None
        try:
            text = Path(self.password_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"the password_file of the store {self.shown} cannot be read: {error}"
            ) from None
        return text.split("\n", 1)[0].removesuffix("\r")


def read_store_url(url: str) -> StoreUrl:
    """Read a URL. Raises SettingsError, also where the libraries for it are not installed."""
    scheme = scheme_of(url)
    if scheme not in STORES:
        raise SettingsError(
            f"the store {redacted(url)} cannot be used: write sqlite:///FILE or "
            "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
        )
    _check_installed(scheme)
    if scheme == "sqlite":
        return StoreUrl(scheme, _read_file(url))
    parts = urlsplit(url)
    options = parse_qsl(parts.query, keep_blank_values=True)
    pooler = any(name == _POOLER and text.lower() in {"1", "true"} for name, text in options)
    files = [text for name, text in options if name == _FILE_OPTION]
    own = (_POOLER, _FILE_OPTION)
    query = urlencode([(name, text) for name, text in options if name not in own])
    address = urlunsplit(parts._replace(query=query))
    place = StoreUrl(scheme, address, pooler, files[-1] if files else "")
    place.read_password()
    return place


def _read_file(url: str) -> str:
    place = url.partition("://")[2]
    file, _, options = place.removeprefix("/").partition("?")
    if options or not place.startswith("/"):
        raise SettingsError(
            f"the store {redacted(url)} cannot be used: write sqlite:///FILE, without a host and "
            "options; the path of the file is relative, or begins with a fourth '/'"
        )
    return "" if file == ":memory:" else file


def _check_installed(scheme: str) -> None:
    missing = [name for name in (*_LIBRARIES, _DRIVERS[scheme]) if find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"a store needs {', '.join(missing)}: install them with pip install 'eventmesh[sql]'"
        )
