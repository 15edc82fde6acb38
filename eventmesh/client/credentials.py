"""What a client authenticates with."""

from __future__ import annotations

from dataclasses import field

from eventmesh.model.errors import SettingsError
from eventmesh.model.value import value


@value
class Credentials:
    """A token, or an access key and its secret with which requests are signed; or nothing."""

    token: str = field(default="", repr=False)
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)

    def __bool__(self) -> bool:
        return bool(self.token or self.access_key)


def check_credentials(
    token: str | None,
    access_key: str | None,
    secret_key: str | None,
    session_token: str | None = None,
) -> Credentials:
    """Return the credentials that these options make. Raises SettingsError, without secrets."""
    given = Credentials(token or "", access_key or "", secret_key or "", session_token or "")
    if bool(given.access_key) != bool(given.secret_key):
        raise SettingsError(
            "an access key and its secret belong together: give access_key and secret_key, as "
            "'eventmesh token create --access-key' printed them"
        )
    if given.session_token and not given.access_key:
        raise SettingsError("a session token belongs to an access key: give it, too, or neither")
    if given.token and given.access_key:
        raise SettingsError(
            "a client authenticates in one way: give a token, or an access key and its secret"
        )
    return given
