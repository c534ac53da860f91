"""`clorad status`: shows what each agent serves, its backlog, its last decision, and what needs a person."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from daemon.commands.documents.status_document import read_status
from daemon.commands.ledger import opened
from daemon.console import ago, console, count, judgement, lasting, moment, short, show_json, table, verdict
from daemon.process import probing
from daemon.settings import Settings
from daemon.upkeep.capacity import ResourceUse
from ledger.learning.agents import Agent
from ledger.learning.retries import NextTry
from ledger.reports.audit import Place
from ledger.reports.overview import AgentOverview, LastVerdict, Overview
from ledger.versions.decisions import BY_CANARY, BY_GATE, BY_OUTCOMES
from ledger.versions.gate_modes import GateMode
from ledger.versions.holds import Hold
from ledger.versions.looks import ServingChampion
from serving.rejudging.causes import TEMPLATE_ADVICE

SEEN_S_MAX = 10.0
"""Seconds without a report about the replicas after which no fleet role is assumed to lead."""


def show(settings: Settings, *, as_json: bool, lag: bool) -> None:
    """Print the state of everything; with `lag`, ask the broker how many records intake has not read."""
    with opened(settings) as database:
        document = read_status(settings, database)
    ends = _ends(settings) if lag else {}
    readiness = probing.roles(settings)
    if as_json:
        show_json(document.to_json(ends=ends, roles=readiness))
        return
    out = console()
    state = document.state
    _render(state, document.waits, document.turns, document.candidates_wait, ends, out)
    for line in (
        *_hold_warnings(document.holds),
        *_experiment_warnings(state, document.agents),
        *_template_warnings(document.champions.values()),
        *(f"{name} has {line}" for name, lines in document.missing.items() for line in lines),
        *_role_warnings(readiness),
        *_ledger_warnings(state),
        *_room_warnings(document.measures),
    ):
        out.print(Text(f"! {line}", style="yellow"))


def _render(
    state: Overview,
    waits: Mapping[str, str | None],
    turns: Mapping[str, NextTry],
    candidates_wait: Mapping[str, str],
    ends: Mapping[Place, int],
    out: Console,
) -> None:
    in_rotation = sum(replica.in_rotation for replica in state.replicas)
    out.print(
        f"{count(len(state.agents), 'agent')}"
        f" · {in_rotation} of {count(len(state.replicas), 'replica')} in rotation"
        f" · {count(sum(state.events.values()), 'event')}"
        f" · {count(sum(state.dead.values()), 'dead letter')}"
        f" · routing generation {state.generation}"
    )
    out.print()
    rows = table("AGENT", "SERVES", "SINCE", ">WAITING", "NOW", "LAST VERDICT")
    for agent in state.agents:
        rows.add_row(
            agent.name,
            _serving_cell(agent),
            ago(agent.since_s, state.now_s),
            _backlog_cell(agent),
            _activity_cell(
                agent, waits[agent.name], turns[agent.name], candidates_wait.get(agent.name), state.now_s
            ),
            _verdict_cell(agent.last, state.now_s),
        )
    out.print(
        rows if state.agents else "no agents yet: declare one under [agents.NAME] or with `clorad agents add`"
    )
    _render_replicas(state, out)
    _render_partitions(state, ends, out)


def _ledger_warnings(state: Overview) -> list[str]:
    """One line for each thing in the ledger that a person should look at."""
    lines = []
    if state.replicas:
        unseen_s = state.now_s - max(replica.seen_s for replica in state.replicas)
        if unseen_s > SEEN_S_MAX:
            lines.append(f"no fleet role has looked at the replicas for {lasting(unseen_s)}")
    for agent in state.agents:
        if agent.turn is not None and agent.turn.holder is None:
            lines.append(f"{agent.name}: turn {agent.turn.turn_id} waits for a learner to resume it")
    if state.dead:
        reasons = ", ".join(f"{number} {reason.value}" for reason, number in sorted(state.dead.items()))
        lines.append(f"dead letters: {reasons} (`clorad dead-letters list`)")
    if state.owed and state.owed_age_s > SEEN_S_MAX:
        waiting = count(state.owed, "message")
        lines.append(f"{waiting} for Kafka, the oldest for {lasting(state.owed_age_s)}")
    if contested := state.events.get("contested", 0):
        lines.append(f"{count(contested, 'event')} contested: people disagree, or they made their turns fail")
    return lines


def _hold_warnings(holds: Mapping[str, Hold]) -> list[str]:
    """Agents that get no new version until somebody resumes them."""
    return [
        f"{hold.agent}: on hold by {hold.by} since {moment(hold.held_s)}: {short(hold.reason)}"
        for hold in holds.values()
    ]


def _template_warnings(champions: Iterable[ServingChampion]) -> list[str]:
    """Champions that were trained for another form of the prompt than the replicas give them."""
    return [
        f"{champion.version.agent}: {champion.version.name} serves, but {TEMPLATE_ADVICE}"
        for champion in champions
        if champion.has_other_template
    ]


def _room_warnings(measures: Sequence[ResourceUse]) -> list[str]:
    """One line for each limit at which intake pauses, or would not go on after a pause."""
    return [
        f"no room: {measure.text}"
        if measure.is_over
        else f"little room: {measure.text}; intake may pause until it is less"
        for measure in measures
        if not measure.is_under
    ]


def _role_warnings(readiness: Mapping[str, Any]) -> list[str]:
    """One line for each role that does not answer or is not ready."""
    lines = []
    for role, report in readiness.items():
        if report is None:
            lines.append(f"{role}: does not answer on this machine")
        elif not report.get("ready"):
            reasons = [
                f"{check} {state.get('why') or 'not ready'}"
                for check, state in report.get("checks", {}).items()
                if not state.get("ok")
            ]
            lines.append(f"{role}: {'; '.join(reasons) or 'starting'}")
    return lines


def _render_replicas(state: Overview, out: Console) -> None:
    if not state.replicas:
        return
    rows = table("REPLICA", "ROTATION", ">MODELS", "SEEN", "NOTE")
    for replica in state.replicas:
        rotation = Text("in", style="green") if replica.in_rotation else Text("out", style="red")
        age = ago(replica.seen_s, state.now_s)
        rows.add_row(replica.url, rotation, str(len(replica.models)), age, replica.note or "")
    out.print()
    out.print(rows)


def _render_partitions(state: Overview, ends: Mapping[Place, int], out: Console) -> None:
    if not state.positions:
        return
    rows = table("TOPIC", ">PARTITION", ">NEXT OFFSET", ">BEHIND", "LAST KEPT")
    for position in state.positions:
        lag = position.lag(ends)
        rows.add_row(
            position.topic,
            str(position.partition),
            f"{position.next_offset:,}",
            "–" if lag is None else f"{lag:,}",
            ago(position.updated_s, state.now_s),
        )
    out.print()
    out.print(rows)


def _serving_cell(agent: AgentOverview) -> str:
    if agent.experiment is not None:
        return f"{agent.version} (experiment {agent.experiment})"
    return agent.version if agent.canary is None else f"{agent.version} ({agent.share:.0%} {agent.canary})"


def _experiment_warnings(state: Overview, agents: Mapping[str, Agent]) -> list[str]:
    """Agents whose versions nobody judges, with who is answered by them."""
    lines = []
    for agent in state.agents:
        if agent.experiment is not None:
            lines.append(
                f"{agent.name}: nobody judged {agent.experiment}; it answers requests whose key has the right"
                f" `experiment`, {agent.version} all others"
            )
        elif agents[agent.name].gate is GateMode.OFF:
            lines.append(f"{agent.name}: its gate is off, nobody judges its versions")
    return lines


def _backlog_cell(agent: AgentOverview) -> str:
    if not agent.backlog.untaught:
        return "0"
    return f"{agent.backlog.untaught:,} ({lasting(agent.backlog.oldest_age_s)})"


def _activity_cell(
    agent: AgentOverview, waits: str | None, upcoming: NextTry, candidate_waits: str | None, now_s: float
) -> str:
    if agent.turn is not None:
        return f"learning v{agent.turn.version}, {lasting(now_s - agent.turn.opened_s)}"
    if agent.candidate is not None:
        if candidate_waits is not None:
            return f"{agent.candidate} waits for {candidate_waits}"
        return f"judging {agent.candidate}"
    if not agent.backlog.untaught:
        return "–"
    activity = "due" if waits is None else f"waits for {waits}"
    return f"{activity}; next: {upcoming.text}" if upcoming.at_once else activity


def _verdict_cell(last: LastVerdict | None, now_s: float) -> Text:
    if last is None:
        return Text("–")
    reasons = "; ".join(last.reasons) or judgement(last.judgement)
    by = "" if last.by in (BY_GATE, BY_CANARY, BY_OUTCOMES) else f" by {last.by}"
    line = Text(f"{last.version} ").append(verdict(last.verdict.value))
    when = ago(last.decided_s, now_s)
    return line.append(f"{by} {when}{f': {reasons}' if reasons else ''}", style="default")


def _ends(settings: Settings) -> Mapping[Place, int]:
    from daemon.commands.broker import ends

    return ends(settings)
