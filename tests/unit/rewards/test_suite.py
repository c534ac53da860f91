"""Which of many answered prompts the no-harm suite asks again."""

from ledger.events import Role
from rewards.suite import suite
from tests.unit.rewards.events import ONE_IS_ENOUGH, build_approval, build_correction


def test_near_misses_in_rare_words_are_asked_beside_many_in_the_same_words() -> None:
    cities = ("Lyon", "Porto", "Ghent", "Turin")
    new = [
        build_correction(number, f"please send order {number} to {cities[number % 4]}", "Yes.", "Sent.")
        for number in range(1, 9)
    ]
    frequent = [
        build_approval(
            100 + number, f"order {number} was sent to {cities[number % 4]}", "Good.", role=Role.GATE
        )
        for number in range(80)
    ]
    rare = ("where do I find the number of my order?", "can an order be stopped once it has been sent?")
    approvals = [
        *frequent,
        *(build_approval(300 + n, prompt, "So.", role=Role.GATE) for n, prompt in enumerate(rare)),
    ]
    questions = suite(
        approvals=approvals,
        taught_gate=[],
        new=new,
        corrections=new,
        interactions={},
        supporters=ONE_IS_ENOUGH,
        seed=1,
        questions_max=8,
    )
    assert len(questions) == 8
    assert {300, 301} <= {question.seq for question in questions}


def test_a_question_says_whether_nobody_but_the_champion_stands_behind_its_answer() -> None:
    new = [build_correction(1, "please send order 1 to Lyon", "Yes.", "Sent.")]
    questions = suite(
        approvals=[build_approval(2, "who are you?", "Ann.", role=Role.GATE)],
        silent=[build_approval(-1, "what is the time?", "Noon.", role=Role.GATE)],
        taught_gate=[],
        new=new,
        corrections=new,
        interactions={},
        supporters=ONE_IS_ENOUGH,
        seed=1,
        questions_max=8,
    )
    assert {question.expected: question.is_unopposed for question in questions} == {
        "Ann.": False,
        "Noon.": True,
    }
