"""Why a signed request is refused, by the codes and in the words of AWS."""

from __future__ import annotations

from typing import Final

from eventmesh.http.auth.sigv4.canonical import ALGORITHM
from eventmesh.model.errors import Unauthenticated

INCOMPLETE: Final = "IncompleteSignatureException"
"""What is needed to check the signature is missing, or cannot be read."""

INVALID: Final = "InvalidSignatureException"
"""The signature is not that of the request, or not of now."""

UNKNOWN: Final = "UnrecognizedClientException"
"""There is no such access key, or not with that session token."""

EXPIRED: Final = "ExpiredTokenException"
"""The access key has expired."""

MISSING: Final = "MissingAuthenticationTokenException"
"""There are no credentials at all."""

MISMATCH: Final = (
    "The request signature we calculated does not match the signature you provided. Check your AWS "
    "Secret Access Key and signing method. Consult the service documentation for details."
)
NO_SUCH_KEY: Final = "The security token included in the request is invalid."
KEY_EXPIRED: Final = "The security token included in the request is expired"


class SignatureRefused(Unauthenticated):
    """A signature that is not accepted; `shape` is the name of AWS's exception for it."""

    def __init__(self, shape: str, message: str) -> None:
        super().__init__(message, ALGORITHM)
        self.shape = shape
