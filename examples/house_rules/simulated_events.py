"""Feedback of simulated people, and answers that they said nothing about, as the ledger would hold them."""

from examples.house_rules.rehearsed_roles import role_of
from examples.house_rules.world import Task
from ledger.events import Event, Interaction, KeptEvent, Kind, Status
from rewards.replies import Reply, reply_text


def feedback_event(seq: int, kind: Kind, task: Task, reply: Reply, *, author: str) -> KeptEvent:
    """What the author sends about this reply; a takeover ends the conversation as people want it."""
    data = {**task.request, "said": reply}
    if kind is Kind.CORRECTION:
        data = {**task.request, "rejected": reply, "corrected": task.reply}
    elif kind is Kind.TAKEOVER:
        data |= {"turns": task.rest}
    event = Event(
        source="rehearsal",
        id=str(seq),
        digest="",
        kind=kind,
        agent=task.agent,
        author=author,
        role=role_of(task.agent, task.messages),
        prompt_group=task.prompt,
        data=data,
    )
    return KeptEvent(seq=seq, event=event, status=Status.OPEN, received_s=float(seq))


def captured_reply(number: int, task: Task, reply: Reply) -> Interaction:
    """The reply as the gateway captures it, without its tokens."""
    return Interaction(
        id=f"capture-{number}",
        agent=task.agent,
        version="",
        conversation=None,
        turn=None,
        messages=tuple(task.messages),
        completion=reply_text(reply),
        reply=None if isinstance(reply, str) else reply,
        request={"tools": list(task.tools)} if task.tools else {},
        token_ids=None,
        logprobs=None,
        sampling={},
        finish_reason="stop",
        prompt_group=task.prompt,
        role=role_of(task.agent, task.messages),
    )


def shown_reply(kept: KeptEvent) -> str:
    """What is compared of the reply that a person showed; of a takeover, of its first turn."""
    data = kept.event.data
    return reply_text(data["turns"][0] if kept.event.kind is Kind.TAKEOVER else data["corrected"])
