import pytest

from eventmesh import Client, SettingsError
from eventmesh.client.credentials import Credentials

KEY = {"access_key": "AKIAIOSFODNN7EXAMPLE", "secret_key": "wJalrXUtnFEMI"}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"access_key": "AKIAIOSFODNN7EXAMPLE"}, "belong together"),
        ({"secret_key": "wJalrXUtnFEMI"}, "belong together"),
        ({"session_token": "session"}, "belongs to an access key"),
        ({**KEY, "token": "em_hunter2"}, "in one way"),
    ],
)
def test_credentials_that_make_no_sense_are_refused(given, reason):
    with pytest.raises(SettingsError, match=reason) as caught:
        Client("http://127.0.0.1:8080", **given)
    assert "wJalrXUtnFEMI" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("given", [{"token": "em_x"}, KEY])
def test_a_broker_has_no_use_for_them(given):
    with pytest.raises(SettingsError, match="no use for"):
        Client("amqp://127.0.0.1", **given)


@pytest.mark.parametrize("given", [{}, {"token": ""}, {"token": "em_x"}, KEY])
def test_credentials_that_are_accepted(given):
    Client("http://127.0.0.1:8080", **given)


def test_secrets_are_not_shown():
    shown = repr(Credentials("hunter2", "AKIA", "hunter2", "hunter2"))

    assert "hunter2" not in shown
    assert "hunter2" not in repr(Client("http://127.0.0.1:8080", token="hunter2"))
