"""A webhook that its tool did not send is refused; Standard Webhooks' own example is accepted."""

import base64
import hmac
from datetime import UTC, datetime

import pytest

from feedback.bridges.webhook_secrets import (
    WebhookRefused,
    check_bearer,
    check_signature,
    signing_secret,
)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'
HEADERS = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
NOW_S = 1614265331.0


def test_the_example_of_the_specification_is_accepted() -> None:
    check_signature(HEADERS, BODY, signing_secret(SECRET), now_s=NOW_S)
    several = "v1a,abc v1,AAAA " + HEADERS["webhook-signature"]
    check_signature(HEADERS | {"webhook-signature": several}, BODY, signing_secret(SECRET), now_s=NOW_S)


@pytest.mark.parametrize(
    ("changed", "body", "now_s"),
    [
        ({}, BODY + b" ", NOW_S),
        ({"webhook-id": "msg_other"}, BODY, NOW_S),
        ({"webhook-id": ""}, BODY, NOW_S),
        ({"webhook-timestamp": "1614265331"}, BODY, NOW_S),
        ({"webhook-timestamp": "soon"}, BODY, NOW_S),
        ({"webhook-timestamp": ""}, BODY, NOW_S),
        ({"webhook-signature": ""}, BODY, NOW_S),
        ({"webhook-signature": HEADERS["webhook-signature"].replace("v1,", "v2,")}, BODY, NOW_S),
        ({"webhook-signature": "v1,é"}, BODY, NOW_S),
        ({}, BODY, NOW_S + 301.0),
        ({}, BODY, NOW_S - 302.0),
    ],
)
def test_anything_else_is_refused(changed: dict[str, str], body: bytes, now_s: float) -> None:
    with pytest.raises(WebhookRefused):
        check_signature(HEADERS | changed, body, signing_secret(SECRET), now_s=now_s)


def test_a_webhook_that_waited_is_signed_with_the_time_in_its_body() -> None:
    signed_at = datetime(2021, 2, 25, 15, 2, 0, 400_000, tzinfo=UTC)
    text = b".".join((HEADERS["webhook-id"].encode(), str(int(signed_at.timestamp())).encode(), BODY))
    signature = base64.b64encode(hmac.digest(signing_secret(SECRET), text, "sha256")).decode()
    headers = HEADERS | {"webhook-signature": f"v1,{signature}"}
    check_signature(headers, BODY, signing_secret(SECRET), now_s=NOW_S, signed_at=[signed_at])
    with pytest.raises(WebhookRefused):
        check_signature(headers, BODY, signing_secret(SECRET), now_s=NOW_S)


@pytest.mark.parametrize("text", ["", "whsec_", "not base64!", "é"])
def test_a_secret_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        signing_secret(text)


def test_a_bearer_secret_is_compared_whole() -> None:
    check_bearer({"authorization": "Bearer s3cret"}, "s3cret")
    check_bearer({"authorization": "s3cret"}, "s3cret")
    check_bearer({"authorization": "bearer s3cret"}, "s3cret")
    check_bearer({"authorization": " BEARER  s3cret "}, "s3cret")
    for sent in ("", "Bearer s3cre", "Bearer s3cret2", "Basic s3cret", "Bearer é"):
        with pytest.raises(WebhookRefused):
            check_bearer({"authorization": sent}, "s3cret")
