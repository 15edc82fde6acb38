"""What is signed here is what botocore signs, and what is accepted."""

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from multidict import CIMultiDict

from eventmesh.http.auth.sigv4 import signer
from eventmesh.http.auth.sigv4.signer import Signer

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TARGETS = [
    "/2015-03-31/functions/orders.place/invocations",
    "/2015-03-31/functions/orders.place%3A%24LATEST/invocations?Qualifier=%24LATEST",
    "/_eventmesh/send/a%2Fb%20c?id=1&delay=0.500000",
    "/_eventmesh/events?delay=0&a=~&B=1&b=%C3%A4",
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("token", ["", "session/token+="])
def test_botocore_signs_alike(clock, target, token):
    headers = {"Content-Type": "application/json", "x-eventmesh-headers": "a=1  2"}
    signed = Signer(KEY, SECRET, token).sign(
        "POST", "127.0.0.1:8080", target, headers, b"{}", clock.now()
    )

    request = AWSRequest("POST", f"http://127.0.0.1:8080{target}", headers, b"{}")
    request.context["timestamp"] = signed["X-Amz-Date"]
    request.headers["X-Amz-Date"] = signed["X-Amz-Date"]
    if token:
        request.headers["X-Amz-Security-Token"] = token
    botocore = SigV4Auth(Credentials(KEY, SECRET, token or None), "lambda", signer.REGION)
    canonical = botocore.canonical_request(request)
    digits = botocore.signature(botocore.string_to_sign(request, canonical), request)

    assert signed["Authorization"].endswith(f"Signature={digits}")


@pytest.mark.parametrize("target", TARGETS)
async def test_what_is_signed_is_accepted(authenticator, sent, clock, target):
    headers = {"ce-type": "order.placed", "X-Eventmesh-Timeout": "5"}
    sent.target = target
    sent.headers = CIMultiDict(
        Signer(KEY, SECRET).sign("POST", "[::1]:80", target, headers, sent.body, clock.now())
    )

    assert await authenticator.authenticate(sent)


def test_secrets_are_not_shown():
    assert SECRET not in repr(Signer(KEY, SECRET, "session"))
    assert "session'" not in repr(Signer(KEY, SECRET, "session"))
