"""A server of the PostgreSQL that is installed on the machine."""

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from lifelines import leave_to_other_user, start_with_lifeline
from machine import CALL_SECONDS, run, wait_for_line, wait_stopped
from processes_seen import is_stopped

from postgres_server.server import SETTINGS, USER, PrivateServer

STARTED = "ready to accept connections"


class InstalledServer(PrivateServer):
    """A server with a port and a folder of its own."""

    # Where the write end of the pipe is closed without a word, the tests have been killed: then all
    # of it ends. The processes that serve connections have sessions of their own, and end with the
    # first one unless they are frozen. That one starts no others while it is stopped.
    SCRIPT = (
        "exec 3<&0 </dev/null; "
        "(read -r end <&3 && exit; me=$(exec sh -c 'echo $PPID'); kill -STOP $$; "
        "for child in $(cat /proc/$$/task/$$/children); "
        'do [ "$child" = "$me" ] || kill -KILL "$child"; done; '
        'kill -KILL $$; rm -rf "$HOME") & '
        'exec "$@" 3<&-'
    )

    def __init__(self, programs: Path) -> None:
        super().__init__()
        self._programs = programs
        # Not below a folder that only root may enter.
        self._folder = Path(tempfile.mkdtemp(prefix="eventmesh-postgres-", dir="/tmp"))
        self._data = self._folder / "data"
        self._user = leave_to_other_user(self._folder)
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(self._folder), "LC_ALL": "C"}
        self._server: subprocess.Popen[str] | None = None
        self._lifeline = -1

    def launch(self) -> None:
        if not self._data.exists():
            self._create()
        settings = SETTINGS | {
            "listen_addresses": self.host,
            "port": str(self.port),
            "unix_socket_directories": "",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        program = [str(self._programs / "postgres"), "-D", str(self._data), *options]
        self._server, self._lifeline = start_with_lifeline(
            self.SCRIPT, program, env=self._environment, cwd=self._folder, **self._user
        )
        wait_for_line(self._server, STARTED, "PostgreSQL")

    def _create(self) -> None:
        password = self._folder / "password"
        password.write_text(self.password)
        if self._user:
            os.chown(password, self._user["user"], self._user["group"])
        run(
            [
                *(str(self._programs / "initdb"), "-D", str(self._data), "-U", USER),
                *("--pwfile", str(password), "--auth=scram-sha-256"),
                *("--encoding=UTF8", "--locale=C", "--no-sync"),
            ],
            self._environment,
            cwd=self._folder,
            **self._user,
        )

    def signal(self, name: str) -> None:
        if self._server is None:
            return
        number = signal.Signals[f"SIG{name}"]
        first = self._server.pid
        # It starts no other process meanwhile.
        os.kill(first, signal.SIGSTOP)
        wait_stopped(lambda: is_stopped(first), "PostgreSQL")
        children = _children(first)
        for child in children:
            _send(child, number)
        os.kill(first, number)
        if name == "STOP":
            wait_stopped(lambda: all(map(is_stopped, children)), "PostgreSQL")
        if name == "KILL":
            self._end()

    def shut_down(self) -> None:
        self._server.send_signal(signal.SIGINT)  # "Fast shutdown".
        self._end()

    def _end(self) -> None:
        self._server.wait(CALL_SECONDS)
        os.write(self._lifeline, b"\n")
        os.close(self._lifeline)
        self._server = None

    def remove(self) -> None:
        self.signal("KILL")
        shutil.rmtree(self._folder, ignore_errors=True)


def _children(process: int) -> list[int]:
    """Return the processes that a server has started, without what waits for the tests' end."""
    listed = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [child for child in map(int, listed) if os.getpgid(child) != process]


def _send(process: int, number: int) -> None:
    with suppress(ProcessLookupError):  # It has ended.
        os.kill(process, number)
