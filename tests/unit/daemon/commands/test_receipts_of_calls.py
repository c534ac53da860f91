"""`clorad receipt` says what became of feedback about tool calls that cannot be taught, and why."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from daemon.learning.event_results import event_results
from daemon.learning.preparing import prepare_turn
from daemon.learning.turns.material import TurnLimits
from daemon.learning.turns.parts import FIRST_TRY
from daemon.learning.turns.planning import plan_turn
from engine.chat_template import UnusableEpisode
from engine.lesson import NotLearned, RefusedEvents
from engine.tokens import Tokens
from ledger.database import Database, now_s
from ledger.events import Batch, Role
from ledger.intake import transaction, waiting
from ledger.learning.agents import Agent
from ledger.learning.backlog import backlogs
from ledger.learning.event_queries import mark
from ledger.learning.turns import drop_turn
from ledger.topic_names import DEAD_LETTERS_TOPIC
from tests.unit.daemon.conftest import Clorad
from tests.unit.engine import tiny_base
from tests.unit.feedback.event_builder import read_record
from tests.unit.ledger.event_builder import FEEDBACK, INTERACTIONS, build_interaction, keep
from tests.unit.ledger.ledger_builder import build_ledger
from tests.unit.ledger.turn_builder import lease, open_pass

TOOLS = [{"type": "function", "function": {"name": "stock"}}]
ASKED = [{"role": "user", "content": "bolts?"}]
LIMITS = TurnLimits(new_max=8, replay_max=8, anchors_max=8, settle_s=3600.0, authors_min=1)


@pytest.fixture
def database(tmp_path: Path, clorad: Clorad) -> Iterator[Database]:
    """The ledger of the command, with one captured interaction that offered one tool."""
    opened = build_ledger(tmp_path / "clorad.db", "billing")
    common = {"messages": tuple(ASKED), "completion": "No.", "role": Role.TRAIN}
    offered = build_interaction("i1", request={"tools": TOOLS}, **common)
    keep(opened, offered, build_interaction("bare", **common), partition=INTERACTIONS)
    yield opened
    opened.close()


def call(name: str = "stock", arguments: str = "{}") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    calls = [{"id": "c1", "type": "function", "function": function}]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def send(database: Database, **data: Any) -> None:
    """What intake makes of a correction `ide#e-1`."""
    arrival = read_record({"agent": "billing", "author": "ann", **data})
    start = transaction.start_at(database, FEEDBACK, 0)
    batch = Batch(partition=FEEDBACK, start=start, end=start + 1, arrivals=(replace(arrival, offset=start),))
    transaction.keep(database, [batch], dead_letter_topic=DEAD_LETTERS_TOPIC)


def plan(database: Database) -> None:
    """The statuses that the next planning gives."""
    tokens = lease(database, "billing")
    with database.read() as connection:
        [backlog] = backlogs(connection)
        agent = Agent(name="billing", base_hash="b" * 64)
        planned = plan_turn(
            connection, agent, backlog, token=tokens["billing"], limits=LIMITS, readiness=FIRST_TRY
        )
    mark(database, planned.marks)


OWN = {"messages": ASKED, "rejected": "No.", "tools": TOOLS}
RESULT = {"role": "tool", "tool_call_id": "c9", "content": "3"}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({**OWN, "corrected": call(arguments="{")}, "function.arguments: no JSON object"),
        ({**OWN, "corrected": call(arguments='{"a": NaN}')}, "function.arguments: no JSON object"),
        ({**OWN, "corrected": call("price")}, "function.name: none of the event's tools"),
        ({**OWN, "corrected": call(" ")}, "function.name: blank"),
        ({**OWN, "messages": [*ASKED, RESULT], "corrected": call()}, "a tool's result without its call"),
        ({"interaction": "i1", "corrected": call(arguments="[]")}, "function.arguments: no JSON object"),
    ],
)
def test_what_nobody_can_want_is_a_dead_letter_with_the_place(
    database: Database, clorad: Clorad, data: dict[str, Any], reason: str
) -> None:
    send(database, **data)
    output = clorad("receipt", "ide#e-1").out
    assert "invalid_schema" in output
    assert reason in " ".join(output.split())


@pytest.mark.parametrize(
    ("interaction", "reason"),
    [("i1", "calls a tool that was not offered"), ("bare", "calls a tool, and no tools are known")],
)
def test_a_call_that_the_captured_request_did_not_offer_is_barren(
    database: Database, clorad: Clorad, interaction: str, reason: str
) -> None:
    send(database, interaction=interaction, corrected=call("price"))
    plan(database)
    assert f"not used: barren ({reason})" in " ".join(clorad("receipt", "ide#e-1").out.split())


REFUSING = "{{ raise_exception('no tools here') if tools else '' }}<|im_start|>assistant\n"
SILENT = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (f"{SILENT}{REFUSING}", "the chat template refuses these messages"),
        (
            SILENT + "{% if add_generation_prompt %}<|im_start|>assistant\n<think>{% endif %}",
            "the chat template does not render this reply as a continuation of its prompt",
        ),
    ],
    ids=["a template that fails", "a base that cannot render the call"],
)
def test_what_the_base_cannot_render_is_barren_with_the_reason(
    database: Database, clorad: Clorad, tmp_path: Path, template: str, reason: str
) -> None:
    send(database, interaction="i1", corrected=call())
    [turn] = open_pass(database, "billing").turns
    prepared = prepare_turn(database, tmp_path, turn)
    tokenizer = tiny_base.build_tokenizer()
    tokenizer.chat_template = template
    [episode] = prepared.lesson.episodes
    with pytest.raises(UnusableEpisode) as refusal:
        Tokens(tokenizer, vocabulary=288).sample(episode, tokens_max=2048)
    refused = (RefusedEvents(events=episode.events, reason=str(refusal.value)),)
    result = NotLearned(agent="billing", reason="nothing to learn from", refused=refused)
    results = event_results(prepared, result)
    drop_turn(database, turn, token=turn.plan.token, reason=result.reason, tokens=0, results=results)
    assert f"not used: barren ({reason})" in " ".join(clorad("receipt", "ide#e-1").out.split())


def test_feedback_about_half_a_stream_waits_and_is_an_orphan_then(database: Database, clorad: Clorad) -> None:
    send(database, interaction="broken-off", corrected=call())
    assert "waiting for the interaction" in clorad("receipt", "ide#e-1").out
    with database.read() as connection:
        now = now_s(connection)
    waiting.give_up(database, kept_before_s=now + 1.0, dead_letter_topic=DEAD_LETTERS_TOPIC)
    assert "orphan" in clorad("receipt", "ide#e-1").out


def test_a_correction_among_forty_tools_is_taken(database: Database, clorad: Clorad) -> None:
    tools = [{"type": "function", "function": {"name": f"tool_{n}"}} for n in range(40)]
    send(database, **{**OWN, "tools": tools, "corrected": call("tool_39")})
    [document] = clorad("receipt", "ide#e-1", "--json").json["receipts"]
    assert document["fate"] in ("queued", "evidence"), json.dumps(document)
