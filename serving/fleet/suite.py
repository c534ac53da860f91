"""Makes the no-harm suite of a candidate: prompts that its agent answers well now and must still answer well.

`ledger.learning.gate_events` reads the events, `rewards.suite` chooses among them. All have the role `gate`:
no version is trained on them.
"""

from collections.abc import Sequence

from ledger.database import Connection
from ledger.learning.gate_events import suite_material
from ledger.versions.lineage import Version
from rewards.exchange import History
from rewards.silence import unopposed
from rewards.suite import suite
from rewards.supporters import Supporters, author_of
from serving.fleet.questions import Question

SUITE_COUNTED_MAX = 10_000
"""Prompts that are counted, at most, to see whether the suite has grown."""


def suite_questions(
    connection: Connection, candidate: Version, supporters: Supporters, *, limit: int, settle_s: float
) -> Sequence[Question]:
    """At most `limit` questions, the same for the same candidate and ledger.

    People had `settle_s` seconds to object to a captured reply that is asked for again.
    """
    material = suite_material(connection, candidate, settle_s=settle_s)
    history = History(interactions=material.interactions, conversations={}).including(material.replies)
    authors = {kept.event.uid: author_of(kept) for kept in (*material.approvals, *material.judged_before)}
    questions = suite(
        approvals=material.approvals,
        trained_approvals=material.trained_approvals,
        silent=unopposed(material.replies, material.corrections, history=history, supporters=supporters),
        taught_gate=material.judged_before,
        new=material.new,
        corrections=material.corrections,
        interactions=history.interactions,
        supporters=supporters,
        seed=candidate.turn_id,
        questions_max=limit,
    )
    return [
        Question(
            event=question.uid,
            messages=question.messages,
            request=question.request,
            wanted=question.expected,
            author=authors.get(question.uid) if supporters.authors_min > 1 else None,
            is_unopposed=question.is_unopposed,
        )
        for question in questions
    ]
