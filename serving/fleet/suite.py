"""The no-harm suite of a candidate: what its agent already answers well and must go on answering well.

`ledger.learning.gate_events` reads what it is chosen from, `rewards.suite` chooses; all of it is of role
`gate` and never trained on.
"""

from collections.abc import Sequence

from ledger.database import Connection
from ledger.learning.gate_events import suite_material
from ledger.versions.lineage import Version
from rewards.suite import suite
from serving.fleet.questions import Question


def suite_questions(connection: Connection, candidate: Version, *, limit: int) -> Sequence[Question]:
    """At most `limit` questions, the same for the same candidate and ledger."""
    material = suite_material(connection, candidate)
    questions = suite(
        approvals=material.approvals,
        taught_gate=material.judged_before,
        new=material.new,
        corrections=material.corrections,
        interactions=material.interactions,
        seed=candidate.turn_id,
        questions_max=limit,
    )
    return [
        Question(event=question.uid, messages=question.messages, wanted=question.expected)
        for question in questions
    ]
