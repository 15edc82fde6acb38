import re
from dataclasses import fields
from pathlib import Path

import pytest

import eventmesh
from eventmesh.model.errors import SettingsError
from eventmesh.model.settings import Settings, redacted, variable

DOCS = Path(__file__).parents[4] / "docs" / "settings.md"
NAMED = re.compile(r"EVENTMESH_[A-Z][A-Z_]*[A-Z]")


def read(**variables):
    return Settings.from_environment({f"EVENTMESH_{name}": v for name, v in variables.items()})


def test_nothing_set_is_the_defaults():
    assert Settings.from_environment({}) == Settings()


def test_an_empty_variable_counts_as_unset():
    assert read(HTTP_PORT="", BROKER="  ") == Settings()


@pytest.mark.parametrize("name", ["broker", "url"])
def test_a_url_may_be_in_a_file(tmp_path, name):
    file = tmp_path / "secret"
    file.write_text("amqp://user:hunter2@mq/shop\n")
    variables = {f"{variable(name)}_FILE": str(file)}
    settings = Settings.from_environment(variables)
    assert getattr(settings, name) == "amqp://user:hunter2@mq/shop"
    nearer = Settings.from_environment(variables | {variable(name): "amqp://mq"})
    assert getattr(nearer, name) == "amqp://mq"


def test_a_secret_key_may_be_in_a_file_and_is_not_shown(tmp_path):
    file = tmp_path / "secret"
    file.write_text("hunter2/+=\n")
    settings = read(ACCESS_KEY_ID="AKIA", SECRET_ACCESS_KEY_FILE=str(file))

    assert settings.secret_access_key == "hunter2/+="
    assert "hunter2" not in repr(settings)
    with pytest.raises(SettingsError, match="not shown") as caught:
        read(SECRET_ACCESS_KEY="hunter2 hunter2")
    assert "hunter2" not in str(caught.value)


def test_an_issuer_of_tokens_authenticates_callers():
    settings = read(JWT_ISSUER="https://id.example.org", JWT_AUDIENCE="shop, bank")

    assert settings.jwt_audience == ("shop", "bank")
    assert settings.authenticates
    with pytest.raises(SettingsError, match="EVENTMESH_JWT_AUDIENCE"):
        read(JWT_AUDIENCE="shop,,bank")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "EVENTMESH_BROKER_FILE='.*' cannot be read \\(No such file"),
        (b"\xff", "EVENTMESH_BROKER_FILE='.*' cannot be read \\(it is no text"),
        (
            b"amqp://user:hunter2@",
            "EVENTMESH_BROKER \\(not shown, it may be secret\\) must be",
        ),
    ],
)
def test_a_file_that_is_of_no_use(tmp_path, content, reason):
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=reason):
        read(BROKER_FILE=str(file))


def test_other_variables_are_none_of_its_business():
    # Kubernetes sets these where a service is called "eventmesh".
    assert read(SERVICE_HOST="10.0.0.1", PORT="tcp://10.0.0.1:80") == Settings()


@pytest.mark.parametrize(
    ("name", "text", "setting"),
    [
        ("broker", "memory://", "memory://"),
        ("broker", "amqps://u:p%2F@mq.example:5671/shop", "amqps://u:p%2F@mq.example:5671/shop"),
        ("broker", "amqp://u:p@a:5672,b,[::1]:1/shop", "amqp://u:p@a:5672,b,[::1]:1/shop"),
        ("url", "amqp://u:p@a:5672,b/shop", "amqp://u:p@a:5672,b/shop"),
        ("broker", "nats://mq.example:4222", "nats://mq.example:4222"),
        ("url", "https://mesh.example/base", "https://mesh.example/base"),
        ("url", "amqps://u:p@mq.example/shop", "amqps://u:p@mq.example/shop"),
        ("http_host", "0.0.0.0", "0.0.0.0"),
        ("http_host", "::1", "::1"),
        ("http_port", " 80 ", 80),
        ("http_port", "0", 0),
        ("http_fd", "3", 3),
        ("http_header_timeout", "500ms", 0.5),
        ("http_read_timeout", "1m", 60.0),
        ("http_tls_certificate", "/etc/tls/tls.crt", "/etc/tls/tls.crt"),
        ("http_tls_key", "/etc/tls/tls.key", "/etc/tls/tls.key"),
        ("admin_host", "localhost", "localhost"),
        ("admin_port", "65535", 65535),
        ("max_body", "1024", 1024),
        ("api", "off", False),
        ("docs", "NO", False),
        ("docs", "1", True),
        ("grace", "0", 0.0),
        ("grace", "1.5", 1.5),
        ("grace", "1h 30m", 5400.0),
        ("log_format", "JSON", "json"),
        ("log_level", "warning", "WARNING"),
    ],
)
def test_a_variable_is_read(name, text, setting):
    settings = Settings.from_environment({variable(name): text})
    assert getattr(settings, name) == setting
    assert settings == Settings(**{name: setting})


@pytest.mark.parametrize(
    ("name", "text", "accepted"),
    [
        ("http_port", "http", "1 to 65535"),
        ("http_port", "65536", "1 to 65535"),
        ("http_port", "-1", "1 to 65535"),
        ("admin_port", "tcp://10.0.0.1:9464", "1 to 65535"),
        ("http_host", "http://0.0.0.0", "a host name or an address"),
        ("admin_host", "two words", "a host name or an address"),
        ("http_header_timeout", "0", "above zero"),
        ("http_read_timeout", "soon", "above zero"),
        ("grace", "-1", "seconds"),
        ("grace", "nan", "seconds"),
        ("grace", "inf", "seconds"),
        ("grace", "25 parsecs", "seconds"),
        ("max_body", "0", "1 or more"),
        ("max_body", "6MiB", "1 or more"),
        ("api", "perhaps", "true or false"),
        ("docs", "2", "true or false"),
        ("log_format", "xml", "auto, json or text"),
        ("log_level", "loud", "debug, info, warning, error or critical"),
    ],
)
def test_a_bad_variable_is_named_with_its_value_and_what_is_accepted(name, text, accepted):
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({variable(name): text})
    message = str(caught.value)
    assert variable(name) in message
    assert repr(text) in message
    assert accepted in message


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("broker", "hunter2"),
        ("broker", "amqp://user:hunter2@"),
        ("broker", "amqp://user:hunter2@host:port"),
        ("broker", "amqp://user:hunter2@host:0"),
        ("broker", "amqp://user:hunter2@host,"),
        ("broker", "amqp://user:hunter2@host,other:0"),
        ("url", "http://user:hunter2@host,other"),
        ("broker", "amqp://user:1#hunter2@host"),
        ("broker", "amqp://user:1/hunter2@host"),
        ("broker", "amqp://user:1?hunter2@host"),
        ("broker", "amqp://user:hunter2@[host"),
        ("broker", "memory://hunter2"),
        ("url", "redis://user:hunter2@"),
        ("url", "user:hunter2@host:8080"),
    ],
)
def test_a_bad_url_is_not_shown(name, text):
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({variable(name): text})
    assert variable(name) in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_the_repr_shows_settings_but_no_secret():
    settings = read(
        BROKER="amqp://user:hunter2@mq.example:5672/shop?password=hunter2",
        URL="http://user:hunter2@mesh.example",
        HTTP_PORT="81",
    )
    assert "hunter2" not in repr(settings)
    assert "amqp://***@mq.example:5672/shop'" in repr(settings)
    assert "http_port=81" in repr(settings)


@pytest.mark.parametrize(
    ("variables", "mesh"),
    [
        ({}, "http://127.0.0.1:8080"),
        ({"BROKER": "memory://"}, "http://127.0.0.1:8080"),
        ({"BROKER": "amqp://mq"}, "amqp://mq"),
        ({"BROKER": "amqp://mq", "URL": "http://gateway"}, "http://gateway"),
        ({"URL": "amqp://other"}, "amqp://other"),
        ({"BROKER": "amqp://u:p@a:1,[::1]:2/x"}, "amqp://u:p@a:1,[::1]:2/x"),
        (
            {"BROKER": "amqps://operator@mq", "BROKER_USERS": "per-service"},
            "amqps://operator@mq?users=per-service&gateways=gateway",
        ),
    ],
)
def test_commands_find_the_mesh(variables, mesh):
    assert read(**variables).mesh == mesh


@pytest.mark.parametrize(
    ("broker", "address"),
    [
        ("amqp://u:p@a:1,[::1]:2/x", "amqp://u:p@a:1,[::1]:2/x?users=per-service&gateways=gateway"),
        ("amqp://a?password_file=p", "amqp://a?password_file=p&users=per-service&gateways=gateway"),
        ("nats://a", "nats://a"),
    ],
)
def test_what_the_adapter_of_rabbitmq_must_know_of_users(broker, address):
    assert read(BROKER=broker, BROKER_USERS="per-service").broker_address == address
    assert read(BROKER=broker).broker_address == broker


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://user:hunter2@a:5672,b,[::1]/shop", "amqp://***@a:5672,b,[::1]/shop"),
        ("memory://", "memory://"),
        ("http://127.0.0.1:8080/base?token=hunter2#x", "http://127.0.0.1:8080/base"),
        ("amqp://user:hunter2@mq/shop", "amqp://***@mq/shop"),
        ("amqp://user:1/hunter2@mq/shop", "amqp://***@mq/shop"),
        ("amqp://user:1@hunter2@mq/shop", "amqp://***@mq/shop"),
    ],
)
def test_a_redacted_url_still_says_where(url, shown):
    assert redacted(url) == shown


def test_every_setting_has_a_variable_and_is_documented_with_its_default():
    rows = re.findall(r"^\| `(\w+)` \|\s*`?([^`|]*?)`?\s*\|", DOCS.read_text(), flags=re.MULTILINE)
    assert [name for name, _ in rows] == [variable(field.name) for field in fields(Settings)]
    assert Settings.from_environment(dict(rows)) == Settings()


def test_every_variable_that_the_code_names_is_documented():
    sources = Path(eventmesh.__file__).parent.rglob("*.py")
    # A shell sets that of completion, whose name click makes.
    named = {name for file in sources for name in NAMED.findall(file.read_text())}
    assert named - set(NAMED.findall(DOCS.read_text())) == {"EVENTMESH_COMPLETE"}


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ("", "amqp://one,two/shop"),
        ("auto", "amqp://one,two/shop"),
        ("true", "amqp://one,two/shop?cluster=true"),
        ("no", "amqp://one,two/shop?cluster=false"),
    ],
)
def test_the_broker_is_told_whether_it_is_a_cluster(said, address):
    variables = {"EVENTMESH_BROKER": "amqp://one,two/shop", "EVENTMESH_BROKER_CLUSTER": said}
    assert Settings.from_environment(variables).broker_address == address
