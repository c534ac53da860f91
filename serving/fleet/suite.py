"""Makes the no-harm suite of a candidate: prompts that its agent answers well now and must still answer well.

`ledger.learning.gate_events` reads the events, `rewards.suite` chooses among them. All have the role `gate`:
no version is trained on them.
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
