"""Prints what `eventmesh dev` serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from eventmesh.cli.text.output import print_table
from eventmesh.cli.text.services import services_table
from eventmesh.http.auth.build import serves_docs
from eventmesh.model.settings import Settings
from eventmesh.service import Service


class DevReport:
    """Prints functions, triggers and addresses once the services run."""

    def __init__(self, services: Sequence[Service], settings: Settings) -> None:
        self._services = services
        self._settings = settings

    def __call__(self, stage: str, addresses: Mapping[str, str]) -> None:
        if stage != "running":
            return
        print_table(services_table(self._services))
        for what, url in self._urls(addresses):
            click.echo(f"{what:<9} {url}")
        click.echo("Press Ctrl-C to stop.")

    def _urls(self, addresses: Mapping[str, str]) -> list[tuple[str, str]]:
        http, admin = addresses["http"], addresses["admin"]
        docs = [("API docs", f"{http}/docs")] if serves_docs(self._settings) else []
        return [
            ("HTTP", http),
            *docs,
            ("Metrics", f"{admin}/metrics"),
            ("Health", f"{admin}/readyz"),
        ]
