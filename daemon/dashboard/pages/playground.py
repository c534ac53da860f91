"""The playground: champion and candidate of one agent answer the same prompt, through one replica."""

from contextlib import closing

from starlette.responses import Response

from daemon.dashboard.changed_words import changed_words
from daemon.dashboard.visit import Visit
from ledger.access.rights import Right
from ledger.versions.desired import wanted
from ledger.versions.routing import ReplicaState, replica_states
from serving.fleet.replica import Replica, ReplicaRefused, ReplicaUnavailable
from serving.gateway.edge.errors import RequestRefused

PROMPT_CHARS_MAX = 20_000


def show_playground(visit: Visit) -> Response:
    """The form, with the agents that this viewer may ask."""
    return _page(visit, agent=visit.asked("agent"), prompt="", system="")


def answer_both(visit: Visit) -> Response:
    """The answers of both models, side by side. Nothing is captured or stored.

    Raises `RequestRefused` (403) without a key with the right `talk` for the agent.
    """
    agent, prompt = visit.field("agent"), visit.field("prompt")[:PROMPT_CHARS_MAX]
    if not visit.viewer.has_key:
        raise RequestRefused(403, "the playground needs a key with the right `talk`", "no_key")
    visit.viewer.caller.require(Right.TALK)
    visit.viewer.caller.require_agent(agent)
    document = visit.reports.status()
    state = next((state for state in document.state.agents if state.name == agent), None)
    if state is None:
        raise RequestRefused(404, f"no agent {agent[:60]}", "agent")
    with visit.reports.database.read() as connection:
        replicas = tuple(replica_states(connection))
        models = {
            row.version.name: row.version.model
            for row in wanted(connection)
            if row.agent == agent and row.version is not None
        }
    names = list(dict.fromkeys([state.version, *([state.candidate] if state.candidate else [])]))
    system = visit.form.get("system", "").strip()
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": prompt})
    answers = [(name, *_answer(visit, replicas, models.get(name), messages)) for name in names]
    return _page(visit, agent=agent, prompt=prompt, system=system, answers=answers)


def _answer(
    visit: Visit,
    replicas: tuple[ReplicaState, ...],
    model: str | None,
    messages: list[dict[str, str]],
) -> tuple[str, str | None]:
    """The greedy answer, or empty with the reason why there is none. No model: the base answers."""
    settings = visit.settings
    holders = [
        replica for replica in replicas if replica.in_rotation and (model is None or model in replica.models)
    ]
    if not holders:
        return "", "no replica in rotation holds it"
    holder = holders[0]
    key = settings.fleet.replica_keys().get(holder.url.rstrip("/"))
    with closing(Replica(holder.url, api_key=key, answer_s_max=settings.fleet.request_s_max)) as replica:
        try:
            asked = replica.answer(model or holder.base_name or "", messages, settings.gate.answer_tokens_max)
        except (ReplicaUnavailable, ReplicaRefused) as fault:
            return "", str(fault)
    return asked.text, None


def _page(visit: Visit, *, agent: str, prompt: str, system: str, answers: object = ()) -> Response:
    document = visit.reports.status()
    return visit.page(
        "playground.html",
        document=document,
        agents=[state.name for state in document.state.agents if visit.viewer.may_see(state.name)][:1000],
        agent=agent,
        prompt=prompt,
        system=system,
        answers=answers,
        changed_words=changed_words,
    )
