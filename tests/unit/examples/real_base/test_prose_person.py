"""People who correct an agent in prose: valid events of two authors, about wrong answers alone."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from examples.house_rules.people.gateway import AgentReply
from examples.real_base.demo import goals
from examples.real_base.prose_person import ProseExam, ProsePeople
from examples.real_base.prose_world import read_prose_world
from feedback import wire

WORLD = read_prose_world()


class RecordingProducer:
    """A producer that keeps the events it is given."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def send_event(self, kind: str, data: Mapping[str, Any], *, key: str) -> str:
        self.events.append((kind, json.loads(json.dumps({**data, "key": key}))))
        return str(len(self.events))

    def flush(self) -> None:
        pass


class ChattingGateway:
    """A gateway whose agent answers everything with the same words; what it was asked."""

    def __init__(self, text: str = "Gladly.") -> None:
        self.text = text
        self.asked: list[tuple[str, str, bool]] = []

    def ask(
        self, agent: str, messages: Sequence[Mapping[str, str]], *, captured: bool = True, **_: Any
    ) -> AgentReply:
        self.asked.append((agent, messages[-1]["content"], captured))
        return AgentReply(text=self.text, version="v0", interaction="i")


def build_people(gateway: ChattingGateway, name: str = "support") -> tuple[ProsePeople, RecordingProducer]:
    producer = RecordingProducer()
    people: Any = ProsePeople
    return people(WORLD, "support", gateway, producer, name=name), producer


def test_two_people_correct_every_wrong_answer_about_each_rule() -> None:
    people, producer = build_people(ChattingGateway(), name="support-2")
    assert people.correct(1, 6) == "v0"
    assert Counter(data["author"] for _, data in producer.events) == {"ann": 6, "bob": 6}
    assert len({data["comment"] for _, data in producer.events}) == len(WORLD.of_wave("support", 1)) == 2
    for kind, data in producer.events:
        assert data.pop("key")
        assert data["agent"] == "support-2"
        wire.TYPES[f"clorad.{kind}.v1"].model_validate(data)


def test_another_round_asks_other_prompts() -> None:
    gateway = ChattingGateway()
    people, _ = build_people(gateway)
    people.correct(1, 6, 0)
    first = {text for _, text, _ in gateway.asked}
    people.correct(1, 6, 1)
    assert len({text for _, text, _ in gateway.asked}) > len(first)


def test_nothing_is_said_about_ordinary_work_and_the_exam_is_not_captured() -> None:
    gateway = ChattingGateway('{"tool":"refund"}')
    people, producer = build_people(gateway)
    people.talk(20)
    assert all(captured for _, _, captured in gateway.asked)
    gateway.asked.clear()
    exam = people.exam(1, 4)
    assert not any(captured for _, _, captured in gateway.asked)
    assert (exam.followed, exam.near_marked, exam.chat_marked) == (0.0, 1.0, 1.0)
    assert producer.events == []


def test_a_rule_that_is_followed_where_it_does_not_hold_misses_the_goals() -> None:
    before = ProseExam(followed=0.0, near_marked=0.0, chat_marked=0.0, asked=32)
    good = ProseExam(followed=0.95, near_marked=0.0, chat_marked=0.0, asked=32)
    assert all(goal.met for goal in goals(before, good, audit=True))
    leaky = ProseExam(followed=0.95, near_marked=0.2, chat_marked=0.0, asked=32)
    assert [goal.what for goal in goals(before, leaky, audit=True) if not goal.met] == [
        "near misses answered as by a rule: at most 5 %"
    ]
