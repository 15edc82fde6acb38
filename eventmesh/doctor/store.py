"""Checks the store that the settings name: its tables, and what is stuck in its outbox."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from eventmesh.doctor.checks import Finding
from eventmesh.model.errors import SettingsError, StoreUnavailable

if TYPE_CHECKING:
    from eventmesh.store.admin import PendingMessage, StoreStatus

_SUBJECT: Final = "store"

OLD_SECONDS: Final = 60.0
"""Messages of the outbox that are older wait for something: a relay publishes within seconds."""


async def inspect_store(url: str) -> Sequence[Finding]:
    """Examine the store at a URL, without changing it."""
    try:
        from eventmesh.store.urls import read_store_url  # noqa: PLC0415 - only with a store

        read_store_url(url)
        from eventmesh.store.admin import open_admin  # noqa: PLC0415

        async with open_admin(url) as admin:
            status = await admin.status()
            refused = await admin.list(failed=True) if status.schema.current else []
    except (SettingsError, StoreUnavailable) as error:
        return [Finding("problem", _SUBJECT, str(error))]
    return list(check_store(status, refused, time.time()))


def check_store(
    status: StoreStatus, refused: Sequence[PendingMessage], now: float
) -> Iterator[Finding]:
    """Check the tables and the outbox of a store."""
    schema = status.schema
    if not schema.known:
        yield Finding(
            "problem",
            _SUBJECT,
            f"its tables are of version {schema.current}, newer than this eventmesh",
            f"install the eventmesh that made them: this one knows {schema.wanted}",
        )
        return
    if not schema.is_current:
        yield Finding(
            "problem",
            _SUBJECT,
            f"its tables are of version {schema.current or 'none'}, not {schema.wanted}",
            "run 'eventmesh store migrate'",
        )
        return
    yield Finding("ok", _SUBJECT, f"its tables are of version {schema.current}")
    if refused:
        first = refused[0]
        yield Finding(
            "problem",
            "outbox",
            f"the broker refuses {len(refused)} messages; first that of {first.service} to "
            f"{first.destination}: {first.error}",
            "repair the cause, or 'eventmesh outbox discard'; what follows under its key waits",
        )
    for each in status.outbox:
        if each.oldest is not None and now - each.oldest > OLD_SECONDS and not refused:
            yield Finding(
                "problem",
                "outbox",
                f"{each.pending:,} messages of {each.service} wait for {now - each.oldest:.0f} s",
                "start a process of that service, and see in its log whether it reaches the broker",
            )
