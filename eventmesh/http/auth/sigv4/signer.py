"""Signs requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import UTC, datetime
from typing import Final

from multidict import CIMultiDict

from eventmesh.http.auth.sigv4.canonical import (
    ALGORITHM,
    SERVICE,
    Scope,
    canonical_headers,
    canonical_path,
    canonical_query,
    canonical_request,
    hash_payload,
    parse_pairs,
    sign,
)
from eventmesh.model.value import value

REGION: Final = "us-east-1"
"""The region that requests are signed for: any is accepted, as regions mean nothing here."""


@value
class Signer:
    """Signs requests with an access key; `session_token` is sent with one that is temporary."""

    key_id: str
    secret: str = field(repr=False)
    session_token: str = field(default="", repr=False)

    def sign(  # noqa: PLR0917  # a request, in the order of its parts
        self,
        method: str,
        host: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes,
        now: float,
    ) -> dict[str, str]:
        """Return the headers of a request with its Host and its signature added.

        `host` has the port unless that is the scheme's own, `target` is the path and the query as
        they are sent, and `now` is in seconds since the epoch.
        """
        moment = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
        sent = {**headers, "Host": host, "X-Amz-Date": moment}
        if self.session_token:
            sent["X-Amz-Security-Token"] = self.session_token
        path, _, query = target.partition("?")
        scope = Scope(moment[:8], REGION, SERVICE)
        names = sorted(name.lower() for name in sent)
        signed = ";".join(names)
        canonical = canonical_request(
            method,
            canonical_path(path),
            canonical_query(parse_pairs(query)),
            canonical_headers(CIMultiDict(sent), names),
            signed,
            hash_payload(body),
        )
        signature = sign(canonical, moment, scope, self.secret)
        sent["Authorization"] = (
            f"{ALGORITHM} Credential={self.key_id}/{scope}, SignedHeaders={signed}, "
            f"Signature={signature}"
        )
        return sent
