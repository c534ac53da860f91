"""Makes of what gateways say, checked and redacted, what the ledger stores: interactions and live counts."""

from collections.abc import Callable, Mapping
from typing import Any

from feedback import wire
from feedback.grouping import openings_of
from feedback.token_ids import IdsLeftOut
from ledger.events import Interaction, LiveCounts, Signal, VersionCounts


def interaction_of(
    identifier: str,
    data: wire.InteractionData,
    fields: Mapping[str, Any],
    name: Callable[[Any], Any],
    *,
    changed: bool,
) -> Interaction:
    """The interaction in the redacted `fields` of `data`; `name` redacts an identifier.

    `changed`: redaction took something out. Then it has no token ids and no log-probabilities: they would
    still spell what was taken out.
    """
    tokens = None if changed or data.token_ids is None else tuple(data.token_ids)
    request = {field: fields[field] for field in wire.REQUEST_FIELDS if field in fields}
    return Interaction(
        id=identifier,
        agent=data.agent,
        version=data.version,
        conversation=name(data.conversation),
        turn=data.turn,
        messages=tuple(fields["messages"]),
        completion=fields["completion"],
        token_ids=tokens,
        logprobs=None if tokens is None or data.logprobs is None else tuple(data.logprobs),
        sampling=fields["sampling"],
        finish_reason=data.finish_reason,
        reply=fields.get("reply"),
        request=fields["rendering"] | request,
        restrictions=tuple(data.restrictions),
        packed_prompt=None if changed else data.packed_prompt,
        ids_left_out=IdsLeftOut.REDACTED.value if changed else data.ids_left_out,
        openings=openings_of(fields["messages"]),
    )


def live_counts_of(data: wire.LiveData) -> LiveCounts:
    """The counts of one gateway about one agent."""
    return LiveCounts(
        producer=data.producer,
        sequence=data.sequence,
        agent=data.agent,
        canary=data.canary,
        share=data.share,
        versions={
            version: VersionCounts(
                conversations=counts.conversations,
                signals={Signal(name): tuple(pair) for name, pair in counts.signals.items()},
            )
            for version, counts in data.versions.items()
        },
    )
