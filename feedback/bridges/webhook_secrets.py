"""Signs webhooks, and verifies that one comes from its tool: Standard Webhooks, or a secret in a header.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hmac
import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime

_SCHEME = re.compile(r"^bearer +", re.IGNORECASE)
AGE_S_MAX = 300.0
"""Seconds by which the time of a signed webhook may differ from now."""


class WebhookRefused(Exception):
    """The webhook is not signed by its tool. The text says what is wrong and quotes nothing."""


def check_bearer(headers: Mapping[str, str], secret: str) -> None:
    """The secret is in `authorization`, as a bearer token or alone. Raises `WebhookRefused`.

    The name of the scheme may have small and capital letters (RFC 9110, section 11.1).
    """
    sent = _SCHEME.sub("", headers.get("authorization", "").strip())
    if not hmac.compare_digest(sent.encode(), secret.encode()):
        raise WebhookRefused("authorization: not the secret of this bridge")


def check_signature(
    headers: Mapping[str, str],
    body: bytes,
    secret: bytes,
    *,
    now_s: float,
    signed_at: Iterable[datetime] = (),
) -> None:
    """A signature of version 1 in `webhook-signature` fits. Raises `WebhookRefused`.

    Argilla puts the time of sending into `webhook-timestamp` and signs the time in the body, which differs
    where a webhook waited: `signed_at` are such times.
    """
    name, sent = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not name or not sent.isascii() or not sent.isdecimal() or len(sent) > 12:
        raise WebhookRefused("webhook-id, webhook-timestamp: missing")
    if abs(now_s - int(sent)) > AGE_S_MAX:
        raise WebhookRefused("webhook-timestamp: too old, or in the future")
    times = (sent, *(str(math.floor(moment.timestamp())) for moment in signed_at))
    expected = [signature_of(secret, name, time, body) for time in times]
    for signature in headers.get("webhook-signature", "").split():
        version, _, value = signature.partition(",")
        if version == "v1" and any(hmac.compare_digest(value.encode(), each) for each in expected):
            return
    raise WebhookRefused("webhook-signature: none that fits")


def signing_secret(text: str) -> bytes:
    """The bytes of a Standard Webhooks secret: base64, with or without `whsec_`. Raises `ValueError`."""
    try:
        secret = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None
    if not secret:
        raise ValueError("empty")
    return secret


def signature_of(secret: bytes, name: str, time: str, body: bytes) -> bytes:
    """The signature of version 1 (base64) of the body that is sent under this `webhook-id` at this time."""
    signed = b".".join((name.encode(), time.encode(), body))
    return base64.b64encode(hmac.digest(secret, signed, "sha256"))
