"""A certificate authority of a mesh's own, and the certificates of its servers, by `openssl`."""

from __future__ import annotations

import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import Final

from eventmesh.model.errors import EventmeshError, SettingsError

CA: Final = "ca.pem"
"""The certificate of the authority, which every client of its servers trusts."""

CA_KEY: Final = "ca.key"
"""The key of the authority: no container gets it."""

SERVER: Final = "rabbitmq.pem"
SERVER_KEY: Final = "rabbitmq.key"
"""RabbitMQ's certificate and key: `server_files("rabbitmq")`."""

_CA_DAYS: Final = 3650
_SERVER_DAYS: Final = 397
"""What browsers and public authorities take as the most for a server."""

_RENEW_SECONDS: Final = 30 * 86400
_ANSWER_SECONDS: Final = 60.0

# Python 3.13 verifies strictly by RFC 5280 (https://docs.python.org/3/library/ssl.html): the usage
# of the key, and the identifiers of both keys, have to be there.
_CONFIGURATION: Final = """\
[req]
distinguished_name = name
prompt = no
[name]
CN = ${common_name}
[ca]
basicConstraints = critical,CA:TRUE,pathlen:0
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
subjectAltName = DNS:${host}
"""
_NEW_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha256")


class CertificateError(EventmeshError):
    """`openssl` could not make a certificate."""


def server_files(host: str) -> tuple[str, str]:
    """Return the names of the files with the certificate of a server and its key."""
    return f"{host}.pem", f"{host}.key"


def make_authority() -> Mapping[str, str]:
    """Return a new authority for ten years, as the texts of its files.

    Raises SettingsError if there is no `openssl`, and CertificateError if it fails.
    """
    with _workplace("eventmesh", "none") as folder:
        _openssl(
            folder,
            *("req", "-x509", *_NEW_KEY, "-config", "openssl.cnf", "-extensions", "ca"),
            *("-days", str(_CA_DAYS), "-keyout", CA_KEY, "-out", CA),
        )
        return _texts(folder, CA, CA_KEY)


def make_server(
    host: str, authority: Mapping[str, str], also: Sequence[str] = ()
) -> Mapping[str, str]:
    """Return a certificate for a server of that name, for 397 days, as the texts of its files.

    Their names are those of `server_files`.

    `also` are further names by which clients reach it. Raises as `make_authority` does.
    """
    certificate, key = server_files(host)
    with _workplace(host, ",DNS:".join((host, *also))) as folder:
        for name in (CA, CA_KEY):
            (folder / name).write_text(authority[name], encoding="ascii")
        _openssl(
            folder,
            *("req", "-new", *_NEW_KEY, "-config", "openssl.cnf"),
            *("-keyout", key, "-out", "request.pem"),
        )
        _openssl(
            folder,
            *("x509", "-req", "-sha256", "-in", "request.pem", "-CA", CA, "-CAkey", CA_KEY),
            *("-CAcreateserial", "-days", str(_SERVER_DAYS), "-extfile", "openssl.cnf"),
            *("-extensions", "server", "-out", certificate),
        )
        return _texts(folder, certificate, key)


def expires_soon(certificate: Path) -> bool:
    """Whether a certificate has less than thirty days left, or none.

    Raises SettingsError if there is no `openssl`.
    """
    command = ("x509", "-noout", "-checkend", str(_RENEW_SECONDS), "-in", str(certificate))
    return _run(Path(), command).returncode != 0


@contextmanager
def _workplace(common_name: str, host: str) -> Generator[Path]:
    """A folder that only its owner can open, with the configuration, for as long as entered."""
    with TemporaryDirectory(prefix="eventmesh-") as name:
        folder = Path(name)
        text = Template(_CONFIGURATION).substitute(common_name=common_name, host=host)
        (folder / "openssl.cnf").write_text(text, encoding="ascii")
        yield folder


def _texts(folder: Path, *names: str) -> Mapping[str, str]:
    return {name: (folder / name).read_text(encoding="ascii") for name in names}


def _openssl(folder: Path, *arguments: str) -> None:
    ended = _run(folder, arguments)
    if ended.returncode:
        raise CertificateError(
            f"openssl {arguments[0]} failed with code {ended.returncode}: {ended.stderr.strip()}"
        )


def _run(folder: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - no shell
            ("openssl", *arguments),  # noqa: S607 - wherever the system has it
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_ANSWER_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise SettingsError(
            "the certificates of RabbitMQ and PostgreSQL are made by openssl, which is not "
            "installed: install it"
        ) from None
    except subprocess.TimeoutExpired as error:
        raise CertificateError(
            f"openssl {arguments[0]} was stopped: it took over {_ANSWER_SECONDS:g} s"
        ) from error
