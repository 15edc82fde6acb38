"""The file with tokens and access keys: read again when it changes, written whole."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

from eventmesh.aio.clock import Clock
from eventmesh.model.access.credentials import (
    NO_CREDENTIALS,
    AccessKey,
    Credentials,
    format_credentials,
    parse_credentials,
)
from eventmesh.model.errors import SettingsError

LOOK_SECONDS: Final = 1.0
"""Seconds between two looks at whether the file has changed."""

MAX_BYTES: Final = 1024 * 1024

_OTHERS: Final = 0o077

_log: Final = logging.getLogger(__name__)


class CredentialFile:
    """The credentials of a file, as it is now.

    A file that is broken, or gone for a moment while it is replaced, changes nothing: the
    credentials that were read last stay, and the log has an error.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        """Read the file. Raises SettingsError if it cannot be used."""
        self._path = path
        self._clock = clock
        self._credentials = read_credentials(path)
        self._stamp = _stamp(path)
        self._looked = clock.now()
        if path.stat().st_mode & _OTHERS:
            _log.warning("%s can be read by other users: chmod 600 it", path)

    @property
    def credentials(self) -> Credentials:
        """The credentials, at most `LOOK_SECONDS` old."""
        now = self._clock.now()
        if not 0 <= now - self._looked < LOOK_SECONDS:
            self._looked = now
            self._look()
        return self._credentials

    def find_key(self, id: str) -> AccessKey | None:
        """Find the access key with that id."""
        return self.credentials.keys.get(id)

    def _look(self) -> None:
        try:
            stamp = _stamp(self._path)
            if stamp == self._stamp:
                return
            self._stamp = stamp
            self._credentials = read_credentials(self._path)
        except SettingsError as error:
            _log.error("%s; the credentials that were read before stay in force", error)
        else:
            _log.info("%s was read again", self._path)


def read_credentials(path: Path, *, missing_ok: bool = False) -> Credentials:
    """Read a file with credentials. Raises SettingsError if it cannot be used."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise SettingsError(f"it is larger than {MAX_BYTES:,} bytes")
        return parse_credentials(content.decode())
    except FileNotFoundError:
        if missing_ok:
            return NO_CREDENTIALS
        raise _unusable(path, "it is not there; 'eventmesh token create' makes it") from None
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from None
    except UnicodeDecodeError:
        raise _unusable(path, "it is not UTF-8") from None
    except SettingsError as error:
        raise _unusable(path, str(error)) from None


def write_credentials(path: Path, credentials: Credentials) -> None:
    """Replace the file at once: who reads it meanwhile gets the old or the new one.

    Only its owner can read it. Raises SettingsError if it cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(format_credentials(credentials))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise SettingsError(
            f"{path} cannot be written ({error.strerror or error}): check the folder"
        ) from None


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _unusable(path: Path, why: str) -> SettingsError:
    return SettingsError(f"the file with tokens and access keys, {path}, cannot be used: {why}")
