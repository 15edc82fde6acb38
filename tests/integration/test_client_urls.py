"""URLs that cannot be used: each error says so, and none shows the password."""

import traceback

import pytest

from eventmesh import Client, SettingsError

# The first one's password has a character whose compatibility form is "a/c" (Unicode, NFKC).
PASSWORDS = ("HUSH\u2100", "HU[SH", "HUSH]")


@pytest.mark.parametrize("scheme", ["amqp", "amqps", "http", "https", "other", ""])
@pytest.mark.parametrize("password", PASSWORDS)
async def test_no_error_shows_a_password(scheme, password):
    url = f"{scheme}://ada:{password}@127.0.0.1:1/"
    with pytest.raises(SettingsError) as caught:
        async with Client(url):
            pass
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert "HU" not in shown


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://ada:HUSH@[127.0.0.1", "amqp://ada:HUSH@127.0.0.1:99999/"]
)
async def test_a_url_that_cannot_be_read(url):
    with pytest.raises(SettingsError, match="cannot be read") as caught:
        async with Client(url):
            pass
    assert "HUSH" not in str(caught.value)
