"""A pgbouncer of the tests' own: it lends the connections of their PostgreSQL for transactions.

It gives each transaction the next of several connections, so that nothing of a session is left to
be found by the next one of the same client.
"""

import os
import shutil
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from lifelines import leave_to_other_user, start_with_lifeline
from machine import CALL_SECONDS, free_ports, wait_for_line
from packages import find_or_install

STARTED = "process up"

SETTINGS = {
    "pool_mode": "transaction",
    "server_round_robin": "1",
    "min_pool_size": "3",
    "max_client_conn": "500",
    "auth_type": "scram-sha-256",
    "unix_socket_dir": "",
}

ADVICE = (
    "there is no pgbouncer to test with: install one (on Debian: apt-get install pgbouncer), or "
    "say in EVENTMESH_TEST_PGBOUNCER, as HOST:PORT, where one is before the server of "
    "EVENTMESH_TEST_POSTGRES"
)


def installed_program() -> Path | None:
    # Debian has it where only root looks.
    found = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    return Path(found) if found else None


class Pgbouncer:
    """A pgbouncer before the PostgreSQL at a URL, all databases of which it serves to its user."""

    # The group ends when the write end of the pipe does, which is when the tests do.
    SCRIPT = (
        'exec 3<&0 </dev/null; (read -r end <&3; rm -rf "$HOME"; kill -KILL -$$) & exec "$@" 3<&-'
    )

    def __init__(self, url: str, **settings: str) -> None:
        """`settings` are of pgbouncer.ini, over those that all have."""
        self._settings = SETTINGS | settings
        self._server = urlsplit(url)
        (self.port,) = free_ports(1)
        # Not below a folder that only root may enter.
        self._folder = Path(tempfile.mkdtemp(prefix="eventmesh-pgbouncer-", dir="/tmp"))
        self._process = None
        self._lifeline = -1

    def launch(self) -> None:
        """Start it and wait until it accepts connections."""
        program = find_or_install(installed_program, "pgbouncer", ADVICE)
        user, password = self._server.username or "", self._server.password or ""
        users = self._folder / "users"
        users.write_text(f'"{user}" "{password}"\n')
        settings = self._settings | {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self.port),
            "auth_file": str(users),
        }
        file = self._folder / "pgbouncer.ini"
        file.write_text(
            f"[databases]\n* = host={self._server.hostname} port={self._server.port or 5432}\n"
            "[pgbouncer]\n" + "".join(f"{name} = {text}\n" for name, text in settings.items())
        )
        self._process, self._lifeline = start_with_lifeline(
            self.SCRIPT,
            [str(program), str(file)],
            env={"PATH": os.environ["PATH"], "HOME": str(self._folder)},
            cwd=self._folder,
            **leave_to_other_user(self._folder),
        )
        wait_for_line(self._process, STARTED, "pgbouncer")

    def remove(self) -> None:
        """End it, and leave nothing behind."""
        if self._process is not None:
            os.close(self._lifeline)
            self._process.wait(CALL_SECONDS)
            self._process = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def address(self) -> str:
        """Return its host and port."""
        return f"127.0.0.1:{self.port}"
