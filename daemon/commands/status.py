"""`clorad status`: who serves what, what waits, what was decided last, and what needs a person."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from daemon.commands.ledger import opened
from daemon.console import ago, console, count, judgement, lasting, show_json, table, verdict
from daemon.learning.scheduler import Freshness, freshness_of, waits_for
from daemon.process import probing
from daemon.settings import Settings
from daemon.upkeep.capacity import Measure, capacity_of
from ledger.reports.audit import Place
from ledger.reports.overview import AgentState, LastVerdict, Overview, overview

SEEN_S_MAX = 10.0
"""Replicas not looked at for so long: nobody leads the fleet."""


def show(settings: Settings, *, as_json: bool, lag: bool) -> None:
    """Print the state of everything; `lag` asks the broker how far behind intake is."""
    with opened(settings) as database:
        with database.read() as connection:
            found = overview(connection)
        measures = capacity_of(settings, database).measures()
    ends, freshness = _ends(settings) if lag else {}, freshness_of(settings)
    answering = probing.roles(settings)
    if as_json:
        told = state(found, ends, freshness)
        show_json({**told, "room": _room(measures), "roles": answering})
        return
    out = console()
    render(found, ends, freshness, out)
    for line in (*_unwell(answering), *trouble(found), *_tight(measures)):
        out.print(Text(f"! {line}", style="yellow"))


def state(found: Overview, ends: Mapping[Place, int], freshness: Freshness) -> dict[str, Any]:
    """The same as JSON."""
    return {
        "generation": found.generation,
        "agents": {agent.name: _agent(agent, freshness) for agent in found.agents},
        "events": {"total": sum(found.events.values()), **found.events},
        "dead_letters": {reason.value: number for reason, number in found.dead.items()},
        "outbox": {"waiting": found.owed, "oldest_age_s": round(found.owed_age_s, 1)},
        "partitions": [
            {
                "topic": one.topic,
                "partition": one.partition,
                "next_offset": one.next_offset,
                "lag": _behind(ends, one.topic_id, one.partition, one.next_offset),
                "updated_s": one.updated_s,
            }
            for one in found.positions
        ],
        "replicas": [
            {
                "url": one.url,
                "in_rotation": one.in_rotation,
                "base": one.base_name,
                "models": list(one.models),
                "note": one.note,
                "seen_s": one.seen_s,
            }
            for one in found.replicas
        ],
        "leases": dict(found.holders),
        "restores": found.restores,
        "now_s": found.now_s,
    }


def render(found: Overview, ends: Mapping[Place, int], freshness: Freshness, out: Console) -> None:
    """The same for people."""
    rotating = sum(one.in_rotation for one in found.replicas)
    dead = sum(found.dead.values())
    out.print(
        f"{count(len(found.agents), 'agent')}"
        f" · {rotating} of {count(len(found.replicas), 'replica')} in rotation"
        f" · {count(sum(found.events.values()), 'event')} · {count(dead, 'dead letter')}"
        f" · routing generation {found.generation}"
    )
    out.print()
    agents = table("AGENT", "SERVES", "SINCE", ">WAITING", "NOW", "LAST VERDICT")
    for agent in found.agents:
        agents.add_row(
            agent.name,
            agent.version if agent.canary is None else f"{agent.version} ({agent.share:.0%} {agent.canary})",
            ago(agent.since_s, found.now_s),
            _waiting(agent),
            _doing(agent, found.now_s, freshness),
            _last(agent.last, found.now_s),
        )
    out.print(
        agents if found.agents else "no agents yet: declare one under [agents.NAME] or `clorad agents add`"
    )
    _render_replicas(found, out)
    _render_partitions(found, ends, out)


def trouble(found: Overview) -> list[str]:
    """What a person should know without looking for it."""
    lines = []
    if found.replicas and found.now_s - max(one.seen_s for one in found.replicas) > SEEN_S_MAX:
        lines.append(f"no fleet role has looked at the replicas for {lasting(_unseen_s(found))}")
    for agent in found.agents:
        if agent.turn is not None and agent.turn.holder is None:
            lines.append(f"{agent.name}: turn {agent.turn.turn_id} waits for a learner to resume it")
    if found.dead:
        reasons = ", ".join(f"{number} {reason.value}" for reason, number in sorted(found.dead.items()))
        lines.append(f"dead letters: {reasons} (`clorad dead-letters list`)")
    if found.owed and found.owed_age_s > SEEN_S_MAX:
        lines.append(f"{count(found.owed, 'message')} for Kafka, the oldest for {lasting(found.owed_age_s)}")
    contested = found.events.get("contested", 0)
    if contested:
        lines.append(f"{count(contested, 'event')} contested: people disagree, or they made their turns fail")
    return lines


def _room(measures: Sequence[Measure]) -> dict[str, Any]:
    return {one.name: {"used": one.used, "low": one.low, "high": one.high} for one in measures}


def _tight(measures: Sequence[Measure]) -> list[str]:
    """Where intake does not read, or does not yet again."""
    return [
        f"no room: {one.told}"
        if one.is_over
        else f"little room: {one.told}; intake may rest until it is less"
        for one in measures
        if not one.is_under
    ]


def _unwell(answering: Mapping[str, Any]) -> list[str]:
    """Roles that do not answer, or say what they wait for."""
    lines = []
    for name, said in answering.items():
        if said is None:
            lines.append(f"{name}: does not answer on this machine")
        elif not said.get("ready"):
            waits = [
                f"{check} {state.get('why') or 'not ready'}"
                for check, state in said.get("checks", {}).items()
                if not state.get("ok")
            ]
            lines.append(f"{name}: {'; '.join(waits) or 'starting'}")
    return lines


def _render_replicas(found: Overview, out: Console) -> None:
    if not found.replicas:
        return
    out.print()
    replicas = table("REPLICA", "ROTATION", ">MODELS", "SEEN", "NOTE")
    for one in found.replicas:
        where = Text("in", style="green") if one.in_rotation else Text("out", style="red")
        replicas.add_row(one.url, where, str(len(one.models)), ago(one.seen_s, found.now_s), one.note or "")
    out.print(replicas)


def _render_partitions(found: Overview, ends: Mapping[Place, int], out: Console) -> None:
    if not found.positions:
        return
    out.print()
    places = table("TOPIC", ">PARTITION", ">NEXT OFFSET", ">BEHIND", "LAST KEPT")
    for one in found.positions:
        lag = _behind(ends, one.topic_id, one.partition, one.next_offset)
        behind = "–" if lag is None else f"{lag:,}"
        places.add_row(
            one.topic, str(one.partition), f"{one.next_offset:,}", behind, ago(one.updated_s, found.now_s)
        )
    out.print(places)


def _agent(agent: AgentState, freshness: Freshness) -> dict[str, Any]:
    last, turn = agent.last, agent.turn
    return {
        "version": agent.version,
        "since_s": agent.since_s,
        "canary": None if agent.canary is None else {"version": agent.canary, "share": agent.share},
        "candidate": agent.candidate,
        "backlog": {
            "untaught": agent.backlog.untaught,
            "oldest_age_s": round(agent.backlog.oldest_age_s, 1),
            "gate_new": agent.backlog.gate_new,
            "refusals": agent.backlog.refusals,
        },
        "waits_for": waits_for(agent.backlog, freshness),
        "tokens": {
            "last_hour": agent.backlog.usage.tokens,
            "per_hour_max": agent.backlog.usage.tokens_max,
            "quota_wait_s": round(agent.backlog.usage.wait_s, 1),
        },
        "turn": None
        if turn is None
        else {
            "id": turn.turn_id,
            "pass": turn.pass_id,
            "version": turn.version,
            "opened_s": turn.opened_s,
            "holder": turn.holder,
        },
        "last_verdict": None
        if last is None
        else {
            "version": last.version,
            "verdict": last.verdict.value,
            "by": last.by,
            "reasons": list(last.reasons),
            "judgement": {} if last.judgement is None else asdict(last.judgement),
            "decided_s": last.decided_s,
        },
    }


def _waiting(agent: AgentState) -> str:
    if not agent.backlog.untaught:
        return "0"
    return f"{agent.backlog.untaught:,} ({lasting(agent.backlog.oldest_age_s)})"


def _doing(agent: AgentState, now_s: float, freshness: Freshness) -> str:
    if agent.turn is not None:
        return f"learning v{agent.turn.version}, {lasting(now_s - agent.turn.opened_s)}"
    if agent.candidate is not None:
        return f"judging {agent.candidate}"
    if not agent.backlog.untaught:
        return "–"
    why = waits_for(agent.backlog, freshness)
    return "due" if why is None else f"waits for {why}"


def _last(last: LastVerdict | None, now_s: float) -> Text:
    if last is None:
        return Text("–")
    why = "; ".join(last.reasons) or judgement(last.judgement)
    by = "" if last.by == "gate" else f" by {last.by}"
    told = Text(f"{last.version} ").append(verdict(last.verdict.value))
    return told.append(f"{by} {ago(last.decided_s, now_s)}{f': {why}' if why else ''}", style="default")


def _behind(ends: Mapping[Place, int], topic_id: str, partition: int, next_offset: int) -> int | None:
    end = ends.get((topic_id, partition))
    return None if end is None else end - next_offset


def _unseen_s(found: Overview) -> float:
    return found.now_s - max(one.seen_s for one in found.replicas)


def _ends(settings: Settings) -> Mapping[Place, int]:
    from daemon.commands.broker import ends

    return ends(settings)
