"""A broken producer: sends records that are no valid events. Each must become a dead letter."""

import json
import uuid
from collections.abc import Mapping

from examples.house_rules.people.person import Person, run_person

REASONS = ("invalid_utf8", "invalid_json", "unknown_agent", "oversized", "unknown_type")
EACH = 2
_OVERSIZED_BYTES = 300 * 1024


def main() -> None:
    """Send every kind of bad record, then wait for the end of the demo."""
    run_person(_work)


def _work(person: Person) -> None:
    if not person.await_announcement():
        return
    for _ in range(EACH):
        for reason in REASONS:
            value, headers = poison(reason, person.agents[0])
            person.producer.send_record(
                value, headers, key=reason, about={"type": "poison", "reason": reason}
            )
    person.producer.flush()
    person.report(event="poison", count=EACH * len(REASONS))
    person.stopping.wait()


def poison(reason: str, agent: str) -> tuple[bytes, Mapping[str, str]]:
    """Value and headers of a record that must become a dead letter for `reason`."""
    rejected = "a " * (_OVERSIZED_BYTES // 2) if reason == "oversized" else "a"
    data = {
        "agent": "nobody" if reason == "unknown_agent" else agent,
        "author": "broken-producer",
        "messages": [{"role": "user", "content": "a"}],
        "rejected": rejected,
        "corrected": "b",
    }
    value = json.dumps(data).encode()
    if reason == "invalid_utf8":
        value = value.replace(b'"b"', b'"\xff\xfe"')
    if reason == "invalid_json":
        value = value[: len(value) // 2]
    kind = "clorad.horoscope.v1" if reason == "unknown_type" else "clorad.correction.v1"
    headers = {
        "ce_specversion": "1.0",
        "ce_id": str(uuid.uuid4()),
        "ce_source": "//broken-producer.example",
        "ce_type": kind,
        "content-type": "application/json",
    }
    return value, headers


if __name__ == "__main__":
    main()
