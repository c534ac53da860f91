"""Makes an event of feedback its caller's own: author and source follow from who sends it, not from its text.

Below `clorad/gateway/` every author has sources of their own, which nobody else can use: amending and
retracting go by author and source.
"""

from collections.abc import Mapping
from dataclasses import replace

from feedback.envelope import Envelope
from feedback.wire import SOURCE_CHARS_MAX
from serving.gateway.access.caller import Caller
from serving.gateway.edge.errors import RequestRefused
from serving.gateway.recorder import SOURCE


def attributed(envelope: Envelope, caller: Caller) -> Envelope:
    """The event with the caller's author and source. Raises `RequestRefused`.

    Where nobody vouches for the caller, both stay as the event has them; sources of those who have keys are
    refused. A retraction whose target has the source of the retraction itself means the caller's own source.
    """
    source = caller.source(envelope.source, root=SOURCE)
    if len(source) > SOURCE_CHARS_MAX:
        raise RequestRefused(400, f"source: at most {SOURCE_CHARS_MAX} characters with the author's", "event")
    if caller.author is None:
        if source.startswith(f"{SOURCE}/"):
            raise RequestRefused(403, f"source: {SOURCE}/… needs its author's key", "source", code="no_key")
        return envelope
    data = {**envelope.data, "author": caller.author}
    target = data.get("target")
    if isinstance(target, Mapping) and target.get("source") == envelope.source:
        data["target"] = {**target, "source": source}
    return replace(envelope, source=source, data=data)
