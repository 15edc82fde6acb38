"""Reads the table `[deploy]` of an `eventmesh.toml`, and what `--set` says over it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

from pydantic import ValidationError

from eventmesh.deployment.config import DeployConfig
from eventmesh.model.errors import SettingsError

CONFIG_FILE: Final = "eventmesh.toml"
_TABLE: Final = "deploy"
_MAX_BYTES: Final = 1024 * 1024


def read_config(file: Path | None, settings: Sequence[str] = ()) -> DeployConfig:
    """Read a file, or `eventmesh.toml` here if it is there, and put the `settings` over it.

    A setting is "KEY=VALUE", where the key is as below `[deploy]`: "services.orders.maximum=20".
    Raises SettingsError, which names each key that is wrong and says why.
    """
    default = Path(CONFIG_FILE)
    found = file or (default if default.is_file() else None)
    table = {} if found is None else _read(found)
    for setting in settings:
        _put(table, setting)
    try:
        return DeployConfig.model_validate(table)
    except ValidationError as error:
        raise SettingsError(_explain(error, found)) from None


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            text = opened.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise SettingsError(f"{file} is longer than {_MAX_BYTES:,} bytes: it is no such file")
        document = tomllib.loads(text.decode("utf-8"))
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror or error}") from error
    except (UnicodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{file} is not TOML: {error}") from error
    table = document.get(_TABLE, {})
    if not isinstance(table, dict):
        raise SettingsError(f"{file}: {_TABLE!r} must be a table: write [{_TABLE}]")
    return cast("dict[str, Any]", table)


def _put(table: dict[str, Any], setting: str) -> None:
    """Set one key of the table, and make the tables above it."""
    key, equals, text = setting.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        raise SettingsError(
            f"{setting!r} is not a setting: write KEY=VALUE, such as services.orders.maximum=20"
        )
    for name in names[:-1]:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise SettingsError(f"{setting!r} cannot be set: {name!r} is not a table")
    table[names[-1]] = _value(text.strip())


def _value(text: str) -> Any:
    """Read a value as TOML has it; what is none is a text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _explain(error: ValidationError, file: Path | None) -> str:
    place = f"{file}: " if file else ""
    lines: list[str] = []
    for each in error.errors(include_url=False, include_input=False):
        key = ".".join(str(part) for part in (_TABLE, *each["loc"]))
        reason = each["msg"].removeprefix("Value error, ")
        if each["type"] == "extra_forbidden":
            reason = "there is no such key; docs/guide/deploying.md lists all"
        lines.append(f"{place}{key}: {reason}")
    return "\n".join(lines)
