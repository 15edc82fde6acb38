"""Passwords, rights and certificates of a mesh in containers."""

import json
import ssl
import stat
from base64 import b64decode

import pytest
from click.testing import CliRunner

from eventmesh import SettingsError
from eventmesh.brokers.rabbitmq.access.definitions import password_hash
from eventmesh.brokers.rabbitmq.access.permissions import Rights
from eventmesh.cli.main import cli
from eventmesh.packaging import certificates
from eventmesh.packaging.postgres_roles import password_verifier
from eventmesh.packaging.secret_files import write_secrets, write_service_secrets

RIGHTS = [Rights("orders", ("orders.place",), emits=("order.placed",))]
USERS = ("orders", "gateway", "operator")
CERTIFICATES = ("ca.key", "ca.pem", "rabbitmq.pem", "rabbitmq.key")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "secrets"


def secrets_in(folder, *, renew=(), rights=RIGHTS):
    """Write, and return the names of the files that were written."""
    return [file.name for file in write_secrets(folder, rights, renew)]


def texts(folder):
    return {name: (folder / name).read_text() for name in (*USERS, *CERTIFICATES)}


def test_all_that_a_mesh_needs(folder):
    assert secrets_in(folder) == [*USERS, "definitions.json", *CERTIFICATES]
    assert (folder / ".gitignore").read_text() == "*\n"
    passwords = {(folder / name).read_text() for name in USERS}
    assert len(passwords) == len(USERS)
    assert min(map(len, passwords)) >= 32


def test_whoever_may_not_open_the_folder_opens_no_file_and_containers_are_given_theirs(folder):
    folder.mkdir(mode=0o755)
    secrets_in(folder)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert modes.pop("ca.key") == 0o600
    assert set(modes.values()) == {0o644}


def test_rabbitmq_learns_hashes_and_no_administrator(folder):
    secrets_in(folder)
    users = json.loads((folder / "definitions.json").read_text())["users"]
    assert [user["name"] for user in users] == list(USERS)
    assert [user["tags"] for user in users] == [[], [], []]
    hashed = users[0]["password_hash"]
    assert hashed == password_hash((folder / "orders").read_text(), b64decode(hashed)[:4])


def test_what_is_there_stays_and_rights_are_written_anew(folder):
    secrets_in(folder)
    before = texts(folder)
    changed = [Rights("orders", ("orders.place",), emits=("order.placed", "order.lost"))]
    assert secrets_in(folder, rights=changed) == ["definitions.json"]
    assert texts(folder) == before
    assert "order.lost" in (folder / "definitions.json").read_text()


def test_a_renewed_secret_is_written_into_the_file_that_a_container_has(folder):
    secrets_in(folder)
    before, inode = texts(folder), (folder / "orders").stat().st_ino
    written = secrets_in(folder, renew=["orders", "rabbitmq"])
    assert written == ["orders", "definitions.json", "rabbitmq.pem", "rabbitmq.key"]
    after = texts(folder)
    assert {name for name in after if after[name] != before[name]} == {
        "orders",
        "rabbitmq.pem",
        "rabbitmq.key",
    }
    assert (folder / "orders").stat().st_ino == inode


def test_a_shorter_text_leaves_nothing_of_the_longer_one(folder):
    secrets_in(folder)
    (folder / "orders").write_text("x" * 1000)
    secrets_in(folder, renew=["orders"])
    assert len((folder / "orders").read_text()) == 32


def test_a_name_that_has_no_secret(folder):
    with pytest.raises(SettingsError, match=r"no secret of 'billing': there are orders, gateway"):
        secrets_in(folder, renew=["billing"])
    assert not folder.exists()


def test_a_certificate_that_is_about_to_expire_is_renewed(folder, monkeypatch):
    secrets_in(folder)
    monkeypatch.setattr(certificates, "_RENEW_SECONDS", 400 * 86400)
    assert secrets_in(folder) == ["definitions.json", "rabbitmq.pem", "rabbitmq.key"]


def test_another_authority_means_another_certificate(folder):
    secrets_in(folder)
    (folder / "ca.pem").unlink()
    assert secrets_in(folder) == ["definitions.json", *CERTIFICATES]


def test_the_authoritys_key_may_be_kept_elsewhere(folder):
    secrets_in(folder)
    before = (folder / "ca.pem").read_text()
    (folder / "ca.key").unlink()
    assert secrets_in(folder) == ["definitions.json"]
    with pytest.raises(
        SettingsError, match=r"ca\.key is needed to sign a certificate.*put it back"
    ):
        secrets_in(folder, renew=["rabbitmq"])
    assert (folder / "ca.pem").read_text() == before


def handshake(folder, host, of="rabbitmq"):
    """Verify the server as a strict client does, without a network."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / f"{of}.pem", folder / f"{of}.key")
    client = ssl.create_default_context(cafile=folder / "ca.pem")
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    while ends:
        for end in list(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                pass


def test_clients_verify_rabbitmq_and_no_other(folder, tmp_path):
    secrets_in(folder)
    handshake(folder, "rabbitmq")
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for 'mailbox'"):
        handshake(folder, "mailbox")
    secrets_in(tmp_path / "other")
    (folder / "ca.pem").write_bytes((tmp_path / "other/ca.pem").read_bytes())
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(folder, "rabbitmq")


@pytest.mark.parametrize("name", ["orders", "definitions.json", "ca.pem", "rabbitmq.key"])
def test_no_secret_is_written_through_a_link(folder, tmp_path, name):
    folder.mkdir()
    (folder / name).symlink_to(tmp_path / "public")
    with pytest.raises(SettingsError, match=f"{name} is no file: remove it"):
        secrets_in(folder)
    assert not (tmp_path / "public").exists()


def test_an_empty_password_is_none(folder):
    folder.mkdir()
    (folder / "orders").touch()
    with pytest.raises(SettingsError, match="orders is empty: remove it, and a new password"):
        secrets_in(folder)


def test_a_machine_without_openssl(folder, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SettingsError, match="openssl, which is not installed: install it"):
        secrets_in(folder)


def test_openssl_that_fails(folder, monkeypatch):
    monkeypatch.setattr(certificates, "_NEW_KEY", ("-newkey", "no-such-algorithm"))
    with pytest.raises(certificates.CertificateError, match=r"openssl req failed with code \d+: ."):
        secrets_in(folder)


def test_services_that_join_another_mesh(folder):
    assert [file.name for file in write_service_secrets(folder, RIGHTS)] == [
        "orders",
        "definitions.json",
    ]
    definitions = json.loads((folder / "definitions.json").read_text())
    assert [user["name"] for user in definitions["users"]] == ["orders"]


def test_the_command(write, project):
    write("hello/app.py", "from eventmesh import Service\nservice = Service('hello')\n")

    def run(*arguments):
        command = ["export", "secrets", "hello", "-o", "s", *arguments]
        result = CliRunner().invoke(cli, command, prog_name="eventmesh")
        assert result.exit_code == 0, result.output
        return result.stdout

    run()
    before = (project / "s/hello").read_text()
    assert run("--renew", "hello") == "wrote s/hello\nwrote s/definitions.json\n"
    assert (project / "s/hello").read_text() != before


DATABASES = ("orders", "Stock-2")
OF_POSTGRES = ("orders.postgres", "Stock-2.postgres", "postgres.sql")


def databases_in(folder, *, renew=()):
    written = write_secrets(folder, RIGHTS, renew, databases=DATABASES)
    return [file.name for file in written if "postgres" in file.name]


def test_postgresql_has_users_without_their_passwords(folder):
    assert databases_in(folder) == [*OF_POSTGRES, "postgres.pem", "postgres.key"]
    script = (folder / "postgres.sql").read_text()
    for name in DATABASES:
        password = (folder / f"{name}.postgres").read_text()
        assert len(password) >= 32
        assert password not in script
        assert f'CREATE DATABASE "{name}" OWNER "{name}"' in script
    handshake(folder, "postgres", of="postgres")


def test_what_postgresql_has_stays_until_it_is_renewed(folder):
    databases_in(folder)
    before = {name: (folder / name).read_text() for name in (*OF_POSTGRES, "postgres.pem")}
    assert databases_in(folder) == ["postgres.sql"]
    assert (folder / "orders.postgres").read_text() == before["orders.postgres"]
    renewed = databases_in(folder, renew=["orders", "postgres"])
    assert renewed == ["orders.postgres", "postgres.sql", "postgres.pem", "postgres.key"]
    assert (folder / "orders.postgres").read_text() != before["orders.postgres"]
    assert (folder / "postgres.pem").read_text() != before["postgres.pem"]


def test_a_verifier_is_that_of_postgresql():
    # That of the password "pencil" in RFC 7677, section 3.
    salt = b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    assert password_verifier("pencil", salt) == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
        "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )


def test_a_password_of_other_characters_is_refused(folder):
    folder.mkdir()
    (folder / "orders.postgres").write_text("grüße")
    with pytest.raises(SettingsError, match="printable ASCII"):
        databases_in(folder)
