"""The secrets of a mesh in containers: files that a compose file gives to the containers."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from secrets import token_urlsafe
from typing import Final

from eventmesh.brokers.rabbitmq.access.definitions import build_definitions, to_json
from eventmesh.brokers.rabbitmq.access.permissions import Permissions, Rights, permissions
from eventmesh.model.errors import SettingsError
from eventmesh.packaging.broker_export import all_permissions
from eventmesh.packaging.certificates import (
    CA,
    CA_KEY,
    expires_soon,
    make_authority,
    make_server,
    server_files,
)
from eventmesh.packaging.postgres_roles import roles_script

RABBITMQ: Final = "rabbitmq"
"""The name of RabbitMQ's container, for which its certificate is."""

DEFINITIONS: Final = "definitions.json"
"""The file with the users, their permissions and the exchanges, which RabbitMQ loads."""

POSTGRES: Final = "postgres"
"""The name of PostgreSQL's container, for which its certificate is."""

ROLES: Final = "postgres.sql"
"""The file with the users of PostgreSQL and their databases, which it runs at each start."""

VIRTUAL_HOST: Final = "/"

_IGNORE: Final = ".gitignore"

_FOR_CONTAINERS: Final = 0o644
"""The users inside containers are others. On the host nobody else can open the folder."""

_FOR_OWNER: Final = 0o600


def database_secret(service: str) -> str:
    """Return the name of the secret with the password of a service at PostgreSQL."""
    return f"{service}.{POSTGRES}"


def write_secrets(
    folder: Path,
    all_rights: Sequence[Rights],
    renew: Collection[str] = (),
    also: Sequence[str] = (),
    databases: Sequence[str] = (),
) -> Iterator[Path]:
    """Write what RabbitMQ and the containers of a mesh need; yield each file written.

    That is a password for each user, the definitions with their rights, an authority, and a
    certificate of RabbitMQ by it. What is there already stays, but for the definitions, for a
    certificate that has less than thirty days left, and for what `renew` names: users, which get
    other passwords, or "rabbitmq" and "postgres" for their certificates, which takes the
    authority's key. Files are written in place, because a container that runs goes on seeing the
    file that it was given.

    `also` are names of RabbitMQ beside "rabbitmq", in a certificate that is made. `databases` are
    the services that have one in the mesh's PostgreSQL, whose passwords there, users and
    certificate are written too.

    Only the owner can open the folder, whoever made it, and Git ignores it. Raises SettingsError
    for a name in `renew` that there is not, for a link or a folder in a file's place, and if
    `openssl` is not installed.
    """
    granted = all_permissions(all_rights)
    servers = {RABBITMQ: also, **({POSTGRES: ()} if databases else {})}
    _check_renewed(renew, [*(each.user for each in granted), *servers])
    _make_folder(folder)
    yield from _write_users(folder, granted, all_rights, renew)
    if databases:
        yield from _write_roles(folder, databases, renew)
    yield from _write_authority(folder, servers, renew)


def write_service_secrets(
    folder: Path, all_rights: Sequence[Rights], renew: Collection[str] = ()
) -> Iterator[Path]:
    """Write the passwords and definitions of services that join another mesh, as `write_secrets`.

    The other mesh has the authority, and its own users.
    """
    granted = list(map(permissions, all_rights))
    _check_renewed(renew, [each.user for each in granted])
    _make_folder(folder)
    yield from _write_users(folder, granted, all_rights, renew)


def _check_renewed(renew: Collection[str], names: Sequence[str]) -> None:
    unknown = [name for name in renew if name not in names]
    if unknown:
        raise SettingsError(f"there is no secret of {unknown[0]!r}: there are {', '.join(names)}")


def _make_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    if not (folder / _IGNORE).exists():
        _write(folder / _IGNORE, "*\n", _FOR_CONTAINERS)


def _write_users(
    folder: Path,
    granted: Sequence[Permissions],
    all_rights: Sequence[Rights],
    renew: Collection[str],
) -> Iterator[Path]:
    passwords: dict[str, str] = {}
    for each in granted:
        yield from _write_password(folder / each.user, anew=each.user in renew)
        passwords[each.user] = _read_password(folder / each.user)
    text = to_json(build_definitions(VIRTUAL_HOST, granted, all_rights, passwords))
    _write(folder / DEFINITIONS, text, _FOR_CONTAINERS)
    yield folder / DEFINITIONS


def _write_roles(folder: Path, databases: Sequence[str], renew: Collection[str]) -> Iterator[Path]:
    passwords: dict[str, str] = {}
    for service in databases:
        file = folder / database_secret(service)
        yield from _write_password(file, anew=service in renew)
        passwords[service] = _read_password(file)
    _write(folder / ROLES, roles_script(passwords), _FOR_CONTAINERS)
    yield folder / ROLES


def _write_password(file: Path, *, anew: bool) -> Iterator[Path]:
    if anew or not _is_there(file):
        _write(file, token_urlsafe(24), _FOR_CONTAINERS)
        yield file


def _write_authority(
    folder: Path, servers: Mapping[str, Sequence[str]], renew: Collection[str]
) -> Iterator[Path]:
    """Write the authority, if it is missing, and by it the certificates of these servers."""
    made = not _is_there(folder / CA)
    if made:
        authority = make_authority()
        _write(folder / CA_KEY, authority[CA_KEY], _FOR_OWNER)
        _write(folder / CA, authority[CA], _FOR_CONTAINERS)
        yield folder / CA_KEY
        yield folder / CA
    for server, also in servers.items():
        yield from _write_certificate(folder, server, also, anew=made or server in renew)


def _write_certificate(
    folder: Path, server: str, also: Sequence[str], *, anew: bool
) -> Iterator[Path]:
    certificate, key = server_files(server)
    missing = not (_is_there(folder / certificate) and _is_there(folder / key))
    if anew or missing or expires_soon(folder / certificate):
        if not _is_there(folder / CA_KEY):
            raise SettingsError(
                f"{folder / CA_KEY} is needed to sign a certificate, and is not there: put it "
                f"back, or remove {folder / CA} for another authority"
            )
        authority = {name: (folder / name).read_text(encoding="ascii") for name in (CA, CA_KEY)}
        for name, text in make_server(server, authority, also).items():
            _write(folder / name, text, _FOR_CONTAINERS)
            yield folder / name


def _is_there(file: Path) -> bool:
    """Whether there is a secret. Raises SettingsError for a link or a folder in its place."""
    if not os.path.lexists(file):
        return False
    if file.is_symlink() or not file.is_file():
        raise SettingsError(f"{file} is no file: remove it, and it is made anew")
    return True


def _read_password(file: Path) -> str:
    password = file.read_text(encoding="utf-8").strip()
    if not password:
        raise SettingsError(f"{file} is empty: remove it, and a new password is made")
    return password


def _write(file: Path, text: str, mode: int) -> None:
    """Write a file in place, and never through a link."""
    _is_there(file)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        os.fchmod(opened.fileno(), mode)
        opened.write(text)
        opened.truncate()
