"""A ledger of many agents for `bench.dashboard`: events by Zipf's law, five versions each, with evidence."""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from ledger import schema
from ledger.database import Database
from ledger.versions.evidence import Answers, Evidence, Judgement, Pair

VERSIONS = 5
PROMPTS = 12
"""Prompts by which each version was judged, with both answers."""

TAUGHT = 16
"""New events of each turn."""

_BASE_HASH = "b" * 64
_WORDS = ("cancel", "refund", "order", "invoice", "ticket", "reopen", "escalate", "confirm", "policy", "hour")


def fill(path: Path, *, agents: int, events: int, seed: int = 1) -> str:
    """Write the ledger into the file `path`. Returns its URL."""
    database = Database(f"sqlite:///{path}")
    database.migrate()
    chance = random.Random(seed)
    names = [f"agent-{number:04d}" for number in range(agents)]
    weights = [1.0 / (place + 1) for place in range(agents)]  # Zipf
    now = time.time()
    owners = chance.choices(names, weights, k=events)
    with database.write() as connection:
        connection.execute(insert(schema.agents), [_agent(name, now) for name in names])
        for chunk in _chunks(_events(owners, now, chance)):
            connection.execute(insert(schema.events), chunk)
        _versions(connection, names, owners, now)
    database.close()
    return f"sqlite:///{path}"


def _agent(name: str, now: float) -> dict[str, Any]:
    return {
        "name": name,
        "base_hash": _BASE_HASH,
        "scorer": "auto",
        "recipe": {},
        "capture": False,
        "weight": 1.0,
        "declared_s": now - 1e6,
    }


def _events(owners: list[str], now: float, chance: random.Random) -> Iterator[dict[str, Any]]:
    for place, agent in enumerate(owners):
        said = " ".join(chance.choices(_WORDS, k=8))
        yield {
            "seq": place + 1,
            "source": "bench",
            "id": f"e{place}",
            "digest": "0" * 64,
            "kind": "approve" if place % 4 == 3 else "correction",
            "agent": agent,
            "author": f"person-{place % 7}",
            "revision": 1,
            "role": ("train", "train", "gate", "train", "train", "dev", "train", "gate")[place % 8],
            "prompt_group": f"group {place // 2}",
            "status": "contested" if place % 5000 == 1 else "open",
            "status_reason": "people disagree" if place % 5000 == 1 else None,
            "data": {
                "messages": [{"role": "user", "content": f"{said} {place}"}],
                "rejected": said,
                "corrected": said[::-1],
            },
            "received_s": now - (len(owners) - place) * 2.0,
            "topic_id": "t1",
            "partition": 0,
            "offset": place,
        }


def _versions(connection: Any, names: list[str], owners: list[str], now: float) -> None:
    """Of each agent five versions, the fourth refused and the fifth serving, each taught sixteen events."""
    seqs: dict[str, list[int]] = {name: [] for name in names}
    for place, agent in enumerate(owners):
        if len(seqs[agent]) < VERSIONS * TAUGHT:
            seqs[agent].append(place + 1)
    rows: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("passes", "turns", "turn_events", "versions", "decisions", "desired")
    }
    for place, agent in enumerate(names):
        for number in range(1, VERSIONS + 1):
            turn, made_s = place * VERSIONS + number, now - (VERSIONS - number + 1) * 3600.0
            parent = 3 if number == 5 else number - 1
            content_hash = f"{turn:06x}" + "0" * 58
            rows["passes"].append(
                {"id": turn, "holder": "bench", "form": {}, "opened_s": made_s - 60, "closed_s": made_s}
            )
            rows["turns"].append(
                {
                    "id": turn,
                    "pass_id": turn,
                    "place": 0,
                    "agent": agent,
                    "number": number,
                    "parent": parent,
                    "recipe": {},
                    "labelling": {},
                    "seed": 1,
                    "attempt": 1,
                    "through_seq": 0,
                    "token": 1,
                    "state": "made",
                    "tokens": 1000,
                    "closed_s": made_s,
                }
            )
            rows["turn_events"] += [
                {
                    "turn_id": turn,
                    "event_seq": seq,
                    "part": "new",
                    "place": n,
                    "revision": 1,
                    "outcome": "trained",
                }
                for n, seq in enumerate(seqs[agent][(number - 1) * TAUGHT : number * TAUGHT])
            ]
            rows["versions"].append(
                {
                    "agent": agent,
                    "number": number,
                    "hash": content_hash,
                    "base_hash": _BASE_HASH,
                    "parent": parent,
                    "turn_id": turn,
                    "through_seq": 0,
                    "path": f"{agent}/v{number}",
                    "made_s": made_s,
                }
            )
            rows["decisions"].append(
                {
                    "agent": agent,
                    "number": number,
                    "kind": "refuse" if number == 4 else "promote",
                    "by": "gate",
                    "evidence": _evidence(number).to_json(),
                    "through_seq": 0,
                    "decided_s": made_s + 60,
                }
            )
        for purpose, number in (("serve", 5), ("predecessor", 3)):
            rows["desired"].append(
                {"agent": agent, "purpose": purpose, "number": number, "share": 1.0, "since_s": now - 3000.0}
            )
    for name, values in rows.items():
        for chunk in _chunks(iter(values)):
            connection.execute(insert(schema.metadata.tables[name]), chunk)


def _evidence(number: int) -> Evidence:
    uids = [f"bench#e{8 * place + 2}" for place in range(PROMPTS)]
    won = min(PROMPTS, 2 * number)
    return Evidence(
        reasons=("harm: 3 of 48 prompts became worse",) if number == 4 else (),
        judgement=Judgement(alpha_k=0.025, p=0.01, wins=won, losses=0, ties=PROMPTS - won, suite=0),
        gate=tuple(Pair(event=uid, before=0.2, after=1.0 if n < won else 0.2) for n, uid in enumerate(uids)),
        answers={
            uid: Answers(before="The order was dropped. " * 8, after="It is done. " * 8) for uid in uids
        },
    )


def _chunks(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == 5000:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
