"""The users and databases of a mesh's own PostgreSQL, as SQL that its container runs."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from hashlib import pbkdf2_hmac, sha256
from hmac import digest
from os import urandom
from string import Template
from typing import Final

from eventmesh.model.errors import SettingsError

_ITERATIONS: Final = 4096
_SALT_BYTES: Final = 16
"""What PostgreSQL takes itself (src/include/common/scram-common.h)."""

_HEADER: Final = """\
-- The users of the services, each with a database of its own. PostgreSQL runs this at each start;
-- what is there already stays. Written by eventmesh, with hashes of the passwords.
"""

# Names of services have neither quotes nor spaces.
_USER: Final = Template("""
SELECT 'CREATE ROLE "$user"' WHERE NOT EXISTS (
    SELECT FROM pg_roles WHERE rolname = '$user')\\gexec
ALTER ROLE "$user" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION
    PASSWORD '$verifier';
SELECT 'CREATE DATABASE "$user" OWNER "$user"' WHERE NOT EXISTS (
    SELECT FROM pg_database WHERE datname = '$user')\\gexec
REVOKE ALL ON DATABASE "$user" FROM PUBLIC;
""")


def password_verifier(password: str, salt: bytes | None = None) -> str:
    """Return what PostgreSQL keeps of a password for SCRAM-SHA-256 (RFC 5803).

    A password with other characters than printable ASCII, which would have to be normalised
    (RFC 4013), raises SettingsError.
    """
    if not (password.isascii() and password.isprintable()):
        raise SettingsError(
            "a password of PostgreSQL has other characters than printable ASCII: remove its file "
            "in secrets/, and a new one is made"
        )
    salt = urandom(_SALT_BYTES) if salt is None else salt
    salted = pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    stored = sha256(digest(salted, b"Client Key", "sha256")).digest()
    server = digest(salted, b"Server Key", "sha256")
    parts = [b64encode(each).decode() for each in (salt, stored, server)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{parts[0]}${parts[1]}:{parts[2]}"


def roles_script(passwords: Mapping[str, str]) -> str:
    """Return a script for psql that makes these users, by their passwords, and their databases.

    A user owns the database of its own name and nothing else. Run again, it changes no more than
    the passwords.
    """
    return _HEADER + "".join(
        _USER.substitute(user=user, verifier=password_verifier(password))
        for user, password in passwords.items()
    )
