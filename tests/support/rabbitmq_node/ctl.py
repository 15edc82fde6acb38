"""`rabbitmqctl` without a new Erlang VM for each command."""

import json
import re
import subprocess
import tempfile
import threading
import zipfile
from pathlib import Path

from machine import CALL_SECONDS, run

ENDED = re.compile(r"^ended (.*)$")
SUCCEEDED = "{shutdown,0}"

# Reads lists of arguments from standard input, one on a line, and runs rabbitmqctl's main function
# with each, which prints to standard output. A line says how it has ended.
LOOP = r"""
{ok, _} = application:ensure_all_started(elixir),
ok = application:load(rabbitmqctl),
Run = fun(Arguments) ->
    {_, Reference} = spawn_monitor(fun() ->
        'Elixir.RabbitMQCtl':main([unicode:characters_to_binary(One) || One <- Arguments])
    end),
    receive {'DOWN', Reference, process, _, Reason} -> io:format("~nended ~0p~n", [Reason]) end
end,
Loop = fun Again() ->
    case io:read("") of
        {ok, Arguments} -> Run(Arguments), Again();
        eof -> halt()
    end
end,
Loop().
"""


class Rabbitmqctl:
    """The rabbitmqctl of an installed RabbitMQ, for one node.

    It takes more than a second of CPU to load, and a few milliseconds to run a command: it is
    loaded once. Where it is not packed as an escript, with the Elixir that it needs, each command
    is a process of its own.
    """

    def __init__(self, program: Path, node: str, environment: dict[str, str]) -> None:
        self._program = program
        self._node = ("-n", node)
        self._environment = environment
        self._escript = program.resolve().parents[1] / "escript" / "rabbitmqctl"
        self._is_whole = _has_elixir(self._escript)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._modules: tempfile.TemporaryDirectory[str] | None = None

    def __call__(self, *arguments: str) -> str:
        """Return what a command prints; raises RuntimeError if it fails."""
        if not self._is_whole:
            return run([str(self._program), *self._node, *arguments], self._environment)
        with self._lock:
            if self._process is None:
                self._load()
            return self._run(*self._node, *arguments)

    def _load(self) -> None:
        self._modules = tempfile.TemporaryDirectory(prefix="eventmesh-rabbitmqctl-")
        # An escript is an archive with a few lines of text in front.
        with zipfile.ZipFile(self._escript) as archive:
            archive.extractall(self._modules.name)
        self._process = subprocess.Popen(
            [
                *("erl", "-noshell", "-hidden", "-pa", self._modules.name),
                *("-eval", LOOP, "-extra", "rabbitmqctl"),
            ],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _run(self, *arguments: str) -> str:
        # A list of JSON strings is one of Erlang's strings too.
        self._process.stdin.write(f"{json.dumps(arguments)}.\n")
        self._process.stdin.flush()
        overdue = threading.Timer(CALL_SECONDS, self._process.kill)
        overdue.start()
        try:
            printed, ended = self._read()
        finally:
            overdue.cancel()
        if ended != SUCCEEDED:
            raise RuntimeError(f"rabbitmqctl {' '.join(arguments)}: {ended}\n{printed}")
        return printed

    def _read(self) -> tuple[str, str]:
        """Return what was printed until a command ended, and how it ended."""
        lines: list[str] = []
        for line in self._process.stdout:
            if found := ENDED.match(line):
                return "".join(lines).removesuffix("\n"), found[1]
            lines.append(line)
        return "".join(lines), "its process has ended"

    def close(self) -> None:
        """End it; nothing is left of it."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._modules.cleanup()
            self._process = None


def _has_elixir(escript: Path) -> bool:
    if not escript.exists():
        return False
    with zipfile.ZipFile(escript) as archive:
        return "elixir.app" in archive.namelist()  # In a folder of it, nothing finds it.
