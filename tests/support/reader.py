"""The tutorial, and other documents, done as their readers do it: files are written, commands are
typed."""

import asyncio
import os
import re
import shlex
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from composed import Failed, run
from launching import clean_environment, launched

ROOT = Path(__file__).parents[2]
DEADLINE = 180.0
"""Real seconds in which what was sent or ordered has had its effect, on a busy machine too."""

TUTORIAL = "docs/tutorial.md"

AT_HOME = (
    "The shop in one process",
    "A service of your own",
    "Run it while you write it",
)
OVER_RABBITMQ = ("Workers over RabbitMQ",)
IN_CONTAINERS = (
    "A RabbitMQ",
    "The shop in containers",
    "Your service beside it",
    "More of it",
    "A new version",
    "Down",
)

LOOKING = (
    "curl http",
    "docker compose exec",
    "docker compose logs",
    "docker compose ps",
    "docker logs",
    "eventmesh dlq list",
    "eventmesh doctor",
    "eventmesh ps",
)
"""Commands that change nothing, unless `-d` gives curl something to send: a reader repeats them
until they show what is expected."""


def sections(document=TUTORIAL):
    """The code blocks, their kind and text, by the titles under which they stand."""
    text = (ROOT / document).read_text("utf-8")
    found, blocks = {}, []  # What stands above all titles is nobody's.
    for title, kind, block in re.findall(
        r"^## ([^\n]+)$|^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL
    ):
        if title:
            blocks = found[title] = []
        else:
            blocks.append((kind, block))
    return found


class Reader:
    """Somebody in a folder beside a clone, whose terminals have these variables.

    `instead` is what is written in place of addresses and names that the document has.
    """

    def __init__(self, folder, instead, document=TUTORIAL, **variables):
        self._document = document
        self._folder = folder.resolve()
        self._instead = instead
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.variables = clean_environment() | {"PATH": path} | variables
        self._home = self._folder
        (self._home / "eventmesh").symlink_to(ROOT)

    async def follow(self, *titles):
        """Do what stands under these titles."""
        for title in titles:
            # What was started in the foreground is stopped at the end of its section.
            async with AsyncExitStack() as self._foreground:
                for kind, block in sections(self._document)[title]:
                    await self._do(kind, self._adapted(block))

    async def _do(self, kind, text):
        match kind:
            case "console":
                for command, shown in _commands(text):
                    await self._type(command, shown)
            case "diff":
                self._edit(text)
            case _:
                self._file(text).write_text(text, "utf-8")

    def _adapted(self, text):
        for written, other in self._instead.items():
            text = text.replace(written, other)
        return text

    def _file(self, text):
        """The file that the first line of a block names."""
        return self._home / text.partition("\n")[0].removeprefix("# ")

    def _edit(self, text):
        file = self._file(text)
        (old,) = re.findall(r"^-(.*\n)", text, re.MULTILINE)
        (new,) = re.findall(r"^\+(.*\n)", text, re.MULTILINE)
        assert file.read_text("utf-8").count(old) == 1
        file.write_text(file.read_text("utf-8").replace(old, new), "utf-8")

    async def _type(self, command, shown):
        match shlex.split(command):
            case ["cd", folder]:
                self._folder = (self._folder / folder).resolve()
            case ["export", setting]:
                name, _, value = setting.partition("=")
                self.variables[name] = value
            case ["unset", name]:
                del self.variables[name]
            case ["eventmesh", "dev" | "run" as verb, *arguments]:
                process = await self._foreground.enter_async_context(
                    self._interrupted(verb, *arguments)
                )
                for line in shown:
                    await process.line(_pattern(line))
            case _:
                await self._run(command, shown)

    @asynccontextmanager
    async def _interrupted(self, *arguments):
        async with launched(*arguments, cwd=self._folder, environment=self.variables) as process:
            yield process
            process.press_ctrl_c()
            assert await process.code() == 0

    async def _run(self, command, shown):
        expected = re.compile(".*".join(map(_pattern, shown)), re.DOTALL)
        printed = ""
        try:
            async with asyncio.timeout(DEADLINE if _looks(command) else None):
                while True:
                    printed = await self._printed(command)
                    if expected.search(printed):
                        return
                    assert _looks(command), f"{command} has printed:\n{printed}"
                    await asyncio.sleep(0.2)  # What it looks at tells of no change.
        except TimeoutError:
            raise AssertionError(f"{command} still prints:\n{printed}") from None

    async def _printed(self, command):
        try:
            return await run(*("bash", "-c", command), cwd=self._folder, environment=self.variables)
        except Failed as failed:
            if _looks(command):
                return str(failed)
            raise


def _commands(text):
    """Each command of a block, which may go over several lines, and the lines that it shows."""
    for command, shown in re.findall(
        r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE
    ):
        yield command, shown.splitlines()


def _looks(command):
    return command.startswith(LOOKING) and " -d " not in command


def _pattern(line):
    """Matches the line, in which … is anything."""
    return re.escape(line).replace("…", "[^\n]*")
