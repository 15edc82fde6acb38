"""What it costs to authenticate the callers of the API, driven by wrk."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.order import BODY
from benchmarks.processes import Figures
from benchmarks.scenario import Bench, Scenario
from benchmarks.scenarios.http_echo import CONNECTIONS, JSON, drive, free_port, serving

TARGET: Final = "/2015-03-31/functions/bench.echo/invocations"

Environment = dict[str, str]
Prepare = Callable[[Path, str], tuple[Environment, Mapping[str, str]]]
"""Makes, in a folder and for a host, the variables of the server and the headers of requests."""


def _nobody(_: Path, __: str) -> tuple[Environment, Mapping[str, str]]:
    return {}, {}


def _token(folder: Path, _: str) -> tuple[Environment, Mapping[str, str]]:
    from eventmesh.model.access.credentials import digest_token, new_token

    token = new_token()
    entry = f'[tokens.bench]\nhash = "{digest_token(token)}"\nscopes = ["invoke"]\n'
    return _auth_file(folder, entry), {"Authorization": f"Bearer {token}"}


def _signature(folder: Path, host: str) -> tuple[Environment, Mapping[str, str]]:
    from eventmesh.http.auth.sigv4.signer import Signer

    # One signature, repeated: it counts for 5 minutes, and checking it costs the same each time.
    key, secret = "AKIABENCHMARKKEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
    entry = f'[keys.{key}]\nsecret = "{secret}"\nscopes = ["invoke"]\n'
    headers = Signer(key, secret).sign("POST", host, TARGET, JSON, BODY, time.time())
    return _auth_file(folder, entry), headers


def _jwt(algorithm: str) -> Prepare:
    def prepare(folder: Path, _: str) -> tuple[Environment, Mapping[str, str]]:
        from joserfc import jwt
        from joserfc.jwk import ECKey, KeyParameters, RSAKey

        named: KeyParameters = {"kid": "1"}
        rsa = algorithm == "RS256"
        key = RSAKey.generate_key(2048, named) if rsa else ECKey.generate_key("P-256", named)
        issuer = "https://id.example.org"
        claims = {
            "iss": issuer,
            "aud": "bench",
            "sub": "user-7",
            "exp": int(time.time()) + 3600,
            "scope": "openid eventmesh:invoke",
        }
        keys = folder / "keys.json"
        keys.write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
        environment = {
            "EVENTMESH_JWT_ISSUER": issuer,
            "EVENTMESH_JWT_AUDIENCE": "bench",
            "EVENTMESH_JWT_JWKS_FILE": str(keys),
        }
        token = jwt.encode({"alg": algorithm, "kid": "1"}, claims, key)
        return environment, {"Authorization": f"Bearer {token}"}

    return prepare


def _auth_file(folder: Path, entries: str) -> Environment:
    file = folder / "auth.toml"
    file.touch(0o600)
    file.write_text(entries)
    return {"EVENTMESH_AUTH_FILE": str(file)}


_KINDS: Final[Mapping[str, Prepare]] = {
    "eventmesh": _nobody,
    "token": _token,
    "jwt-rs256": _jwt("RS256"),
    "jwt-es256": _jwt("ES256"),
    "sigv4": _signature,
}


def load(bench: Bench, kind: str) -> Figures:
    """Invocations a second that are answered with 200, and what one costs the server."""
    port = free_port()
    with TemporaryDirectory() as folder:
        environ, headers = _KINDS[kind](Path(folder), f"127.0.0.1:{port}")
        with serving("eventmesh", port, environ) as process:
            started = _cpu_seconds(process.process.pid)
            url = f"http://127.0.0.1:{port}{TARGET}"
            figures = drive(url, {**JSON, **headers}, quick=bench.quick)
            spent = _cpu_seconds(process.process.pid) - started
    return {"rate": figures["rate"], "cpu": spent / figures["requests"] * 1e6}


def _cpu_seconds(process: int) -> float:
    """The seconds that a process has run, its own and the system's for it (proc(5))."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


SCENARIO: Final = Scenario(
    f"Invoke by name (an echo of an order), wrk, {CONNECTIONS} connections",
    {
        "eventmesh": "eventmesh, nobody is authenticated",
        "token": "a bearer token",
        "jwt-rs256": "a JWT, RS256",
        "jwt-es256": "a JWT, ES256",
        "sigv4": "AWS Signature Version 4",
    },
    {"rate": "requests/s", "cpu": "CPU of the server a request, µs"},
    load,
    frozenset(("cpu",)),
)
