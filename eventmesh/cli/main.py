"""The command line: which commands there are, and how each ends."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Final

import click
from click.shell_completion import CompletionItem

from eventmesh.cli.error_report import print_error
from eventmesh.processes.exit_codes import ExitCode

COMMANDS: Final[Mapping[str, str]] = {
    "dev": "Run services on the embedded broker, and restart them on every change.",
    "run": "Run services over a broker, in worker processes.",
    "gateway": "Serve the HTTP routes of all services of a mesh.",
    "ps": "Show the processes of a mesh, and what they serve.",
    "drain": "Have one process finish what runs, and end.",
    "console": "Serve a page that shows the whole mesh, and mends it.",
    "top": "Show how often functions run, how long they take and fail.",
    "show": "Show where an invocation is, or what became of it.",
    "replay": "Run a recorded invocation again.",
    "doctor": "Find what is wrong with a mesh, and say what to do.",
    "prune": "Remove what is left of functions that no process has.",
    "list": "Show services, functions, triggers and limits without running them.",
    "invoke": "Run a function and wait for its result.",
    "send": "Store an invocation of a function, which runs soon.",
    "emit": "Publish an event.",
    "result": "Show what became of an asynchronous invocation.",
    "cancel": "Cancel an asynchronous invocation.",
    "token": "Manage who may use the APIs: tokens and access keys.",
    "dlq": "Show dead letters, deliver them again or drop them.",
    "timers": "Show timers, fire one now, pause and resume them.",
    "store": "Show a store, and bring its tables up to date.",
    "durable": "Show, stop, pause and resume executions of durable functions.",
    "outbox": "Show the messages of an outbox, try them again or drop them.",
    "new": "Write a new service that runs and has a test.",
    "build": "Build images of services.",
    "export": "Print a compose file that runs services.",
    "autoscale": "Have as many replicas of services as their work needs.",
    "deploy": "Replace a service by a new version, step by step.",
    "health": "Ask the process on this machine whether it is ready.",
    "completion": "Print the script that completes commands in a shell.",
}
"""The commands and their help; each is `command` in its module of `eventmesh.cli.commands`."""

_HIDDEN: Final = ("_worker",)
"""Commands that only other commands start."""

_EXIT_CODES: Final = """\b
Exit codes:
  0  done
  1  the function failed, the doctor found a problem, or an unexpected error
  2  wrong usage: an option, a target, a payload, a declaration
  3  no such function, queue or dead letter, or access denied
  4  temporary: throttled, or nothing answers at the address
  5  the time limit passed
  130  interrupted
"""


class _Launcher(click.Group):
    """Imports a command only when it runs, so that `eventmesh --help` answers at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS and cmd_name not in _HIDDEN:
            return None
        command: click.Command = import_module(f"eventmesh.cli.commands.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [name for name in COMMANDS if name.startswith(incomplete)]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*(CompletionItem(name, help=COMMANDS[name]) for name in names), *options]

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
            raise
        except (click.Abort, KeyboardInterrupt):
            click.echo("Interrupted.", err=True)
            ctx.exit(ExitCode.INTERRUPTED)
        except Exception as error:  # noqa: BLE001 - any error is reported to the user
            ctx.exit(print_error(error, debug=ctx.params["debug"]))


@click.group(cls=_Launcher, epilog=_EXIT_CODES, context_settings={"max_content_width": 100})
@click.version_option(package_name="eventmesh", prog_name="eventmesh")
@click.option(
    "--debug", is_flag=True, envvar="EVENTMESH_DEBUG", help="Show tracebacks.", show_envvar=True
)
def cli(*, debug: bool) -> None:
    """Microservices as plain Python functions, fired by HTTP, queues, events and timers."""
