"""`eventmesh dev`: services on the embedded broker, restarted on every change."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from eventmesh.cli.options import targets_argument
from eventmesh.cli.process_options import process_options, read_settings
from eventmesh.targets.parse import read_target


@click.command()
@targets_argument
@process_options
@click.option("--reload/--no-reload", default=True, help="Whether to restart when code changes.")
@click.option("--memory", type=click.Path(path_type=Path), hidden=True)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    targets: tuple[str, ...],
    reload: bool,
    memory: Path | None,
    **options: Any,
) -> None:
    """Run the services of all TARGETs in one process, on the embedded broker.

    A TARGET is a file, a folder with an app.py, package.module, or module:attribute. The process
    restarts when a Python file in their folders changes. Ctrl-C lets running invocations finish; a
    second one does not.

    The embedded broker keeps its messages in memory: they are lost when the process ends.
    """
    settings, environment = read_settings(options)
    if reload:
        found = [read_target(target) for target in targets]
        debug: bool = ctx.find_root().params["debug"]
        # -P: the current folder is searched only for targets that are modules.
        again = [sys.executable, "-P", "-m", "eventmesh", *["--debug"] * debug]
        folders = {target.folder for target in found}
        from eventmesh.processes.dev.folder import DevFolder  # noqa: PLC0415 - not for --help
        from eventmesh.processes.reload import serve_and_reload  # noqa: PLC0415 - not for --help

        # Payloads are in it: a folder that no other user may read.
        with TemporaryDirectory(prefix="eventmesh-dev-") as folder:
            again += ["dev", "--no-reload", f"--memory={folder}", "--", *targets]
            noted = DevFolder(Path(folder))
            code = serve_and_reload(again, folders, settings, environment, click.echo, noted=noted)
        ctx.exit(code)
    # Imported here: the process that reloads needs none of it.
    from eventmesh.cli.text.dev import DevReport  # noqa: PLC0415
    from eventmesh.processes.dev.failure import noted_failure  # noqa: PLC0415
    from eventmesh.processes.dev.folder import DevFolder  # noqa: PLC0415
    from eventmesh.processes.dev.server import run_dev_server  # noqa: PLC0415
    from eventmesh.targets.services import load_services  # noqa: PLC0415

    between = None if memory is None else DevFolder(memory)
    with noted_failure(between):
        services = load_services([read_target(target) for target in targets])
        run_dev_server(services, settings, DevReport(services, settings), between)
