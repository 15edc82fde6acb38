"""Requests that a test signs by hand."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from multidict import CIMultiDict

from eventmesh.http.auth.sigv4.authenticator import SigV4Authenticator
from eventmesh.http.auth.sigv4.canonical import (
    Scope,
    canonical_headers,
    canonical_path,
    canonical_query,
    canonical_request,
    hash_payload,
    parse_pairs,
    sign,
)
from eventmesh.http.server.body import BodyLimit

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
PATH = "/2015-03-31/functions/orders.place/invocations"


@dataclass
class Key:
    secret: str = SECRET
    scopes: frozenset = frozenset(("invoke",))
    expires: float | None = None
    session_token: str = ""
    principal: str = f"key:{KEY}"


@dataclass
class Sent:
    """A request as the authenticator sees it; its body was read already."""

    method: str = "POST"
    target: str = PATH
    headers: CIMultiDict = field(default_factory=CIMultiDict)
    body: bytes = b"{}"

    @property
    def path(self):
        return self.target.partition("?")[0]


def moment(seconds):
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%SZ")


@dataclass
class Signer:
    """Signs requests at a moment; what it is to do wrong is given by keyword."""

    now: float
    key: str = KEY
    secret: str = SECRET

    def sign(
        self,
        sent,
        *,
        at=0.0,
        credential="{key}/{day}/eu-central-1/lambda/aws4_request",
        signed=None,
        payload_hash=None,
    ):
        """Sign it with headers `at` seconds from now."""
        when = moment(self.now + at)
        sent.headers.setdefault("Host", "127.0.0.1:8080")
        sent.headers.setdefault("X-Amz-Date", when)
        names = signed or sorted({name.lower() for name in sent.headers})
        digits = self._digits(sent, names, when, payload_hash)
        given = credential.format(key=self.key, day=when[:8])
        sent.headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={given}, SignedHeaders={';'.join(names)}, "
            f"Signature={digits}"
        )
        return sent

    def presign(self, sent, *, at=0.0, expires="300", more="", payload_hash=None):
        """Sign it with parameters of the query `at` seconds from now."""
        when = moment(self.now + at)
        sent.headers.setdefault("Host", "127.0.0.1:8080")
        names = sorted({name.lower() for name in sent.headers})
        credential = quote(f"{self.key}/{when[:8]}/eu-central-1/lambda/aws4_request", safe="")
        separator = "&" if "?" in sent.target else "?"
        target = (
            f"{sent.target}{separator}X-Amz-Algorithm=AWS4-HMAC-SHA256"
            f"&X-Amz-Credential={credential}&X-Amz-Date={when}&X-Amz-Expires={expires}"
            f"&X-Amz-SignedHeaders={quote(';'.join(names), safe='')}{more}"
        )
        digits = self._digits(replace(sent, target=target), names, when, payload_hash)
        sent.target = f"{target}&X-Amz-Signature={digits}"
        return sent

    def _digits(self, sent, names, when, payload_hash):
        canonical = canonical_request(
            sent.method,
            canonical_path(sent.path),
            canonical_query(parse_pairs(sent.target.partition("?")[2])),
            canonical_headers(sent.headers, names),
            ";".join(names),
            payload_hash or hash_payload(sent.body),
        )
        return sign(canonical, when, Scope(when[:8], "eu-central-1", "lambda"), self.secret)


@pytest.fixture
def signer(clock):
    return Signer(clock.now())


@pytest.fixture
def keys():
    return {KEY: Key()}


@pytest.fixture
def authenticator(keys, clock):
    return SigV4Authenticator(keys.get, clock, BodyLimit(1_000_000, "max_body"))


@pytest.fixture
def sent():
    return Sent()
