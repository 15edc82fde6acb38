"""Signed requests: those that are accepted, and by which codes the others are refused."""

import pytest
from multidict import CIMultiDict

from eventmesh.http.auth.sigv4.canonical import hash_payload
from eventmesh.http.auth.sigv4.refusal import (
    EXPIRED,
    INCOMPLETE,
    INVALID,
    UNKNOWN,
    SignatureRefused,
)
from eventmesh.model.errors import PayloadTooLarge, Problem

KEY = "AKIDEXAMPLE"
UNSIGNED = "UNSIGNED-PAYLOAD"


async def refuse(authenticator, sent, shape, text=None):
    with pytest.raises(SignatureRefused, match=text) as caught:
        await authenticator.authenticate(sent)
    assert caught.value.shape == shape
    assert "wJalrXUtnFEMI" not in str(caught.value)


async def test_a_signed_request_is_accepted(authenticator, signer, sent):
    identity = await authenticator.authenticate(signer.sign(sent))

    assert identity.principal == "key:AKIDEXAMPLE"
    assert identity.method == "sigv4"
    assert identity.scopes == {"invoke"}


async def test_a_presigned_url_is_accepted(authenticator, signer, sent):
    assert await authenticator.authenticate(signer.presign(sent))


@pytest.mark.parametrize("name", [None, "Bearer em_x", "Basic YTpi"])
async def test_other_requests_are_left_to_others(authenticator, sent, name):
    if name:
        sent.headers["Authorization"] = name

    assert await authenticator.authenticate(sent) is None


@pytest.mark.parametrize(
    "target",
    ["/f%3A%24LATEST", "/f:$LATEST?Qualifier=%24LATEST", "/a%20b?x=1+2&y=%ff", "/x?a&b=&c=d=e"],
)
async def test_unusual_targets_are_accepted(authenticator, signer, sent, target):
    sent.target = target
    assert await authenticator.authenticate(signer.sign(sent))


async def test_the_absolute_form_of_a_target_is_signed_as_its_path(authenticator, signer, sent):
    signer.sign(sent)
    sent.target = f"http://127.0.0.1:8080{sent.target}"

    assert await authenticator.authenticate(sent)


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "PUT"},
        {"body": b'{"quantity": 2}'},
        {"body": b""},
        {"target": "/2015-03-31/functions/orders.refund/invocations"},
        {"target": "/2015-03-31/functions/orders.place/invocations?Qualifier=1"},
        {"target": "/2015-03-31/functions/orders%2Eplace/invocations"},
        {"target": "/2015-03-31/functions/./orders.place/invocations"},
        {"target": "//2015-03-31/functions/orders.place/invocations"},
    ],
)
async def test_a_changed_request_is_refused(authenticator, signer, sent, changed):
    signer.sign(sent)
    vars(sent).update(changed)

    await refuse(authenticator, sent, INVALID, "does not match")


@pytest.mark.parametrize("name", ["Host", "X-Amz-Invocation-Type", "X-Eventmesh-Headers"])
async def test_a_changed_header_is_refused(authenticator, signer, sent, name):
    sent.headers[name] = "before"
    signer.sign(sent)
    sent.headers[name] = "after"

    await refuse(authenticator, sent, INVALID, "does not match")


@pytest.mark.parametrize(
    "name",
    [
        "X-Amz-Invocation-Type",
        "x-amz-log-type",
        "X-Amz-Security-Token",
        "x-eventmesh-headers",
        "X-EVENTMESH-TIMEOUT",
        "ce-type",
    ],
)
@pytest.mark.parametrize("way", ["sign", "presign"])
async def test_a_header_with_a_meaning_cannot_be_added(authenticator, signer, sent, name, way):
    getattr(signer, way)(sent)
    sent.headers[name] = "Event"

    await refuse(authenticator, sent, INVALID, name.lower())


async def test_a_signed_header_cannot_come_twice(authenticator, signer, sent):
    sent.headers["X-Amz-Invocation-Type"] = "Event"
    signer.sign(sent)
    sent.headers.add("X-Amz-Invocation-Type", "DryRun")

    await refuse(authenticator, sent, INVALID, "does not match")


@pytest.mark.parametrize("hosts", [[], ["127.0.0.1:8080", "evil.example.org"]])
async def test_a_request_has_one_host(authenticator, signer, sent, hosts):
    signer.sign(sent)
    del sent.headers["Host"]
    sent.headers.extend([("Host", host) for host in hosts])

    await refuse(authenticator, sent, INVALID, "Host")


async def test_the_host_must_be_signed(authenticator, signer, sent):
    await refuse(authenticator, signer.sign(sent, signed=["x-amz-date"]), INVALID, "'Host' or")


async def test_white_space_around_values_does_not_matter(authenticator, signer, sent):
    sent.headers["X-Amz-Meta"] = "a b"
    signer.sign(sent)
    sent.headers["X-Amz-Meta"] = "  a   b "

    assert await authenticator.authenticate(sent)


async def test_a_wrong_secret_is_refused(authenticator, signer, sent):
    signer.secret = "another"
    await refuse(authenticator, signer.sign(sent), INVALID, "does not match")


async def test_a_secret_that_was_replaced_is_refused(authenticator, keys, signer, sent):
    assert await authenticator.authenticate(signer.sign(sent))
    keys[KEY].secret = "a new one of enough length"

    await refuse(authenticator, sent, INVALID, "does not match")


@pytest.mark.parametrize(
    "key", ["AKIDOTHER", "akidexample", "", "../AKIDEXAMPLE", "AKIDEXAMPLE\udcff"]
)
async def test_an_unknown_key_is_refused(authenticator, signer, sent, key):
    signer.key = key
    await refuse(
        authenticator,
        signer.sign(sent),
        *((INCOMPLETE, "5 slash-delimited") if "/" in key else (UNKNOWN, "token included")),
    )


async def test_a_key_that_has_expired_is_refused(authenticator, keys, signer, sent, clock):
    keys[KEY].expires = clock.now()
    await refuse(authenticator, signer.sign(sent), EXPIRED, "is expired")

    sent.headers["X-Changed"] = "1"
    keys[KEY].secret = "another"
    await refuse(authenticator, sent, INVALID)


@pytest.mark.parametrize("at", [-300, 0, 300])
async def test_a_request_counts_for_five_minutes(authenticator, signer, sent, at):
    assert await authenticator.authenticate(signer.sign(sent, at=at))


async def test_a_request_of_another_time_is_refused(authenticator, signer, clock, sent):
    old = signer.sign(sent, at=-301)
    await refuse(
        authenticator,
        old,
        INVALID,
        r"Signature expired: 20251231T235459Z is now earlier than 20251231T235500Z "
        r"\(20260101T000000Z - 5 min\.\)",
    )


async def test_a_request_of_the_future_is_refused(authenticator, signer, sent):
    early = signer.sign(sent, at=301)
    await refuse(
        authenticator,
        early,
        INVALID,
        r"Signature not yet current: 20260101T000501Z is still later than 20260101T000500Z "
        r"\(20260101T000000Z \+ 5 min\.\)",
    )


async def test_a_request_is_not_replayed_beyond_the_skew(authenticator, signer, sent, clock):
    signer.sign(sent)
    assert await authenticator.authenticate(sent)
    await clock.advance(301)

    await refuse(authenticator, sent, INVALID, "Signature expired")


async def test_a_presigned_url_holds_until_it_expires(authenticator, signer, sent, clock):
    signer.presign(sent, expires="604800")
    await clock.advance(604800)
    assert await authenticator.authenticate(sent)
    await clock.advance(1)
    await refuse(authenticator, sent, INVALID, "Signature expired")


async def test_a_presigned_url_of_the_future_is_refused(authenticator, signer, sent):
    await refuse(authenticator, signer.presign(sent, at=301), INVALID, "not yet current")


@pytest.mark.parametrize("expires", ["0", "604801", "-1", "1.5", "1e9", "", "9999999999"])
async def test_expiries_that_are_refused(authenticator, signer, sent, expires):
    await refuse(authenticator, signer.presign(sent, expires=expires), INCOMPLETE, "Expires")


@pytest.mark.parametrize(
    ("credential", "shape", "text"),
    [
        ("{key}/{day}/eu-central-1/s3/aws4_request", INVALID, "correct service: 'lambda'"),
        ("{key}/{day}/eu-central-1/lambda/aws5_request", INVALID, "valid terminator"),
        ("{key}/{day}/EU/lambda/aws4_request", INVALID, "valid region"),
        ("{key}/{day}//lambda/aws4_request", INVALID, "valid region"),
        ("{key}/20150830/eu-central-1/lambda/aws4_request", INVALID, "20150830' != '20260101"),
        ("{key}/{day}/us-east-1/lambda/aws4_request", INVALID, "does not match the signature"),
        ("{key}/{day}/lambda/aws4_request", INCOMPLETE, "5 slash-delimited"),
        ("{key}", INCOMPLETE, "5 slash-delimited"),
    ],
)
async def test_credentials_of_another_scope_are_refused(
    authenticator, signer, sent, credential, shape, text
):
    await refuse(authenticator, signer.sign(sent, credential=credential), shape, text)


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ("Credential=", "X=", "'Credential'"),
        ("SignedHeaders=", "X=", "'SignedHeaders'"),
        ("Signature=", "X=", "'Signature'"),
        ("Signature=", "Signature=A", "64 hexadecimal"),
        ("Signature=", "Signature=" + "0" * 64 + ", Signature=", "twice"),
        ("host;", "x;host;", "in order"),
        ("host;", "host;host;", "in order"),
        ("host;", "Host;", "in small letters"),
        ("host;", "host;;", "in order"),
        ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", "Unsupported AWS 'algorithm'"),
        ("AWS4-HMAC-SHA256 ", "AWS AKID:abc= ", "Unsupported AWS 'algorithm'"),
    ],
)
async def test_signatures_that_cannot_be_read(authenticator, signer, sent, before, after, text):
    signer.sign(sent)
    sent.headers["Authorization"] = sent.headers["Authorization"].replace(before, after)

    await refuse(authenticator, sent, INCOMPLETE, text)


@pytest.mark.parametrize(
    "date", ["", "2026-01-01T00:00:00Z", "20261301T000000Z", "Thu, 01 Jan 2026"]
)
async def test_dates_that_cannot_be_read(authenticator, signer, sent, date):
    signer.sign(sent)
    sent.headers["X-Amz-Date"] = date

    await refuse(authenticator, sent, INCOMPLETE, "[Dd]ate")


async def test_a_request_without_a_date(authenticator, signer, sent):
    signer.sign(sent)
    del sent.headers["X-Amz-Date"]

    await refuse(authenticator, sent, INCOMPLETE, "X-Amz-Date")


@pytest.mark.parametrize("name", ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders"])
async def test_a_presigned_url_has_all_parameters(authenticator, signer, sent, name):
    signer.presign(sent)
    sent.target = sent.target.replace(f"X-Amz-{name}=", "Other=")

    await refuse(authenticator, sent, INCOMPLETE, f"X-Amz-{name}")


@pytest.mark.parametrize(
    "more", ["&X-Amz-Expires=604800", "&X-Amz-Signature=00", "&a=1&a=2", "&%61=1&a=1"]
)
async def test_a_parameter_cannot_come_twice(authenticator, signer, sent, more):
    signer.presign(sent)
    sent.target += more

    await refuse(authenticator, sent, INCOMPLETE, "each parameter once")


async def test_a_parameter_cannot_be_added(authenticator, signer, sent):
    signer.presign(sent)
    sent.target += "&Qualifier=1"

    await refuse(authenticator, sent, INVALID, "does not match")


async def test_a_query_has_no_more_fields_than_others(authenticator, signer, sent):
    sent.target += "?" + "&".join(f"a{number}=" for number in range(1001))
    with pytest.raises(Problem):
        await authenticator.authenticate(signer.sign(sent))


async def test_a_request_is_signed_in_one_way(authenticator, signer, sent):
    signer.presign(sent)
    signer.sign(sent)
    await refuse(authenticator, sent, INCOMPLETE, "one way")

    sent.target = sent.path
    sent.headers.add("Authorization", "Bearer em_x")
    await refuse(authenticator, sent, INCOMPLETE, "one way")


async def test_session_tokens(authenticator, keys, signer, sent):
    keys[KEY].session_token = "session"
    await refuse(authenticator, signer.sign(sent), UNKNOWN)

    for token, accepted in (("session", True), ("other", False), ("\udcff", False)):
        sent.headers = CIMultiDict({"X-Amz-Security-Token": token})
        signer.sign(sent)
        if accepted:
            assert await authenticator.authenticate(sent)
        else:
            await refuse(authenticator, sent, UNKNOWN)


async def test_a_session_token_for_a_key_that_lasts_is_refused(authenticator, signer, sent):
    sent.headers["X-Amz-Security-Token"] = "session"
    await refuse(authenticator, signer.sign(sent), UNKNOWN)


async def test_session_tokens_in_a_presigned_url(authenticator, keys, signer, sent):
    keys[KEY].session_token = "a/b="
    assert await authenticator.authenticate(
        signer.presign(sent, more="&X-Amz-Security-Token=a%2Fb%3D")
    )


async def test_a_declared_hash_is_that_of_the_body(authenticator, signer, sent):
    sent.headers["X-Amz-Content-Sha256"] = hash_payload(sent.body)
    assert await authenticator.authenticate(signer.sign(sent))

    sent.body = b"another"
    await refuse(authenticator, sent, INVALID, "does not match")


@pytest.mark.parametrize("declared", [UNSIGNED, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "", "e3b0"])
async def test_a_body_must_be_signed(authenticator, signer, sent, declared):
    sent.headers["X-Amz-Content-Sha256"] = declared
    await refuse(authenticator, signer.sign(sent, payload_hash=declared or None), INVALID)


async def test_a_presigned_url_may_leave_its_body_open(authenticator, signer, sent):
    open_url = signer.presign(sent, more=f"&X-Amz-Content-Sha256={UNSIGNED}", payload_hash=UNSIGNED)
    for body in (b"{}", b"[]"):
        open_url.body = body
        assert await authenticator.authenticate(open_url)


async def test_only_the_signer_may_leave_the_body_open(authenticator, signer, sent):
    signer.presign(sent)
    sent.target += f"&X-Amz-Content-Sha256={UNSIGNED}"
    await refuse(authenticator, sent, INVALID, "does not match")


async def test_a_body_in_a_coding_is_refused(authenticator, signer, sent):
    sent.headers["Content-Encoding"] = "gzip"
    with pytest.raises(Problem, match="coding"):
        await authenticator.authenticate(signer.sign(sent))


async def test_a_body_over_the_limit_is_refused(authenticator, signer, sent):
    sent.body = bytes(1_000_001)
    with pytest.raises(PayloadTooLarge):
        await authenticator.authenticate(signer.sign(sent))
