"""Answers the webhooks of one tool: verifies the sender, reads annotations, sends what they say to Kafka."""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from feedback.bridges.annotation import (
    Annotation,
    AnnotationFault,
    AnnotationRefused,
    ToolOptions,
)
from feedback.bridges.delivery import Delivery
from feedback.bridges.tools import argilla, label_studio
from feedback.bridges.tools.fields import moment_in
from feedback.bridges.webhook_secrets import WebhookRefused, check_bearer, check_signature, signing_secret
from feedback.client import FeedbackUnconfirmed
from serving.gateway.edge.errors import RequestRefused
from serving.gateway.edge.http_request import HttpRequest
from serving.gateway.edge.json_text import count_request, decode_request
from serving.gateway.edge.limits import GatewayLimits

Verify = Callable[[Mapping[str, str], bytes], None]
"""Raises `WebhookRefused`. It gets the headers and the body, which nobody has decoded yet."""
Read = Callable[[Mapping[str, Any], ToolOptions], list[Annotation]]

PATH = "/bridges/"
_TIMESTAMP = re.compile(rb'"timestamp"\s{0,4}:\s{0,4}"([0-9T:.+Z -]{10,40})"')
"""The time that Argilla signs, in a body that is not decoded: it stands before the data."""
_STATUS = {AnnotationFault.UNKNOWN_VERSION: 400, AnnotationFault.INVALID: 400, AnnotationFault.REFUSED: 400}


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """What answers the webhooks of one tool."""

    options: ToolOptions
    verify: Verify
    read: Read
    delivery: Delivery
    limits: GatewayLimits

    async def answer(self, request: HttpRequest) -> ASGIApp:
        """Kafka has what the annotations say. Raises `RequestRefused`; it may send again after a 503."""
        raw = await request.body(self.limits.body_bytes_max)
        try:
            self.verify(request.headers, raw)
        except WebhookRefused as refusal:
            raise RequestRefused(401, str(refusal), "webhook_secret", code="bad_signature") from None
        request.hold_values(await count_request(raw, self.limits))
        payload = await decode_request(raw, self.limits)
        try:
            annotations = self.read(payload, self.options)
        except AnnotationRefused as refusal:
            self.delivery.refuse(refusal)
            raise _refused(refusal) from None
        try:
            fates = await asyncio.to_thread(self._deliver, annotations)
        except AnnotationRefused as refusal:
            raise _refused(refusal) from None
        except FeedbackUnconfirmed:
            text = "not acknowledged by Kafka; send it again"
            raise RequestRefused(503, text, "kafka_away") from None
        return JSONResponse({"annotations": fates})

    def _deliver(self, annotations: list[Annotation]) -> list[str]:
        return [self.delivery.deliver(annotation).value for annotation in annotations]


def bearer(secret: str) -> Verify:
    """Verifies that the secret stands in `authorization`."""
    return lambda headers, _body: check_bearer(headers, secret)


def signed(secret: str) -> Verify:
    """Verifies a Standard Webhooks signature. Raises `ValueError` for a secret that is none."""
    key = signing_secret(secret)

    def verify(headers: Mapping[str, str], body: bytes) -> None:
        match = _TIMESTAMP.search(body)
        try:
            signed_at = [moment_in({"timestamp": match[1].decode()}, "timestamp")] if match else []
        except AnnotationRefused:
            signed_at = []
        check_signature(headers, body, key, now_s=time.time(), signed_at=signed_at)

    return verify


FORMS: Mapping[str, tuple[Callable[[str], Verify], Read]] = {
    "label-studio": (bearer, label_studio.annotations_of),
    "argilla": (signed, argilla.annotations_of),
}
"""How the webhooks of each tool are verified and read."""


def _refused(refusal: AnnotationRefused) -> RequestRefused:
    return RequestRefused(
        _STATUS.get(refusal.fault, 422), str(refusal), "annotation", code=refusal.fault.value
    )
