"""`make demo BASE=smollm2`: a pretrained base learns a house rule in prose, through the whole stack.

Starts real Kafka, real vLLM with SmolLM2 and clorad in .demo/. Two people talk to one agent, correct it, and
approve nothing. Exits with 0 only if every goal is met. Two quiet cores need about a quarter of an hour.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from examples.house_rules.delays import Delay, acknowledgements, delays
from examples.house_rules.demo import FOLDER
from examples.house_rules.ledger_view import LedgerView
from examples.house_rules.people.feedback_producer import FeedbackProducer
from examples.house_rules.people.gateway import GatewayClient
from examples.house_rules.recipe import SETTLE_S, BaseOptions
from examples.house_rules.report import Goal, write
from examples.house_rules.stack import Stack, StackFailedError, StackOptions
from examples.real_base.make import REAL_BASE
from examples.real_base.prose_person import ProseExam, ProsePeople
from examples.real_base.prose_world import read_prose_world

SMOLLM2 = BaseOptions(path=REAL_BASE, recipe={}, threads=2, in_flight_max=4, suite_max=24)
TALK, CORRECTIONS, QUESTIONS = 64, 24, 8  # prompts: in all, about each rule, of each kind in the exam
TOKENS_MAX = 96  # of an answer; a reply that was cut short is no anchor
LEARNED_S_MAX = 3600.0
ROUNDS_MAX = 3
POLL_S = 2.0
WAVE = 1


def main(words: Sequence[str] | None = None) -> int:
    """Run the demo. Returns 0: every goal met; 1: some were not; 2: it could not run; 130: interrupted."""
    parser = argparse.ArgumentParser(prog="python -m examples.real_base.demo", description=__doc__)
    parser.add_argument("--agent", default="support", help="one of the world's agents")
    agent: str = parser.parse_args(words).agent
    world = read_prose_world()
    stack = Stack(
        StackOptions(folder=FOLDER, agents={agent: world.agents[agent].scorer}, base=SMOLLM2),
    )
    try:
        reached = _run(stack, agent)
    except (StackFailedError, OSError) as fault:
        print(f"demo: {fault}")
        return 2
    except KeyboardInterrupt:
        print("interrupted; stopping everything")
        return 130
    finally:
        stack.stop()
    return 0 if all(goal.met for goal in reached) else 1


def _run(stack: Stack, agent: str) -> list[Goal]:
    print(f"people have {SETTLE_S:.0f} s to object to an answer: learning.settle_s, an hour by default")
    stack.launch()
    stack.start_role("run")
    stack.wait_ready()
    began_s = time.monotonic()
    stack.wait_for_agents()
    journal = stack.folder / "journal.jsonl"
    producer = FeedbackProducer(stack.bootstrap, journal, "//people.example", stack.kafka_options)
    gateway = GatewayClient(stack.gateway, tokens_max=TOKENS_MAX)
    people = ProsePeople(read_prose_world(), agent, gateway, producer, name=agent)
    with ExitStack() as opened:
        ledger = LedgerView(stack.ledger_url)
        opened.callback(ledger.close)
        opened.callback(producer.close)
        before = _examine(people, began_s, "what the base does by itself")
        _say(began_s, "people talk to the agent, and say nothing about its answers")
        people.talk(TALK)
        answered_s = _teach(stack, ledger, people, agent, began_s)
        after = _examine(people, began_s, "every question is asked again")
        taken = delays(
            ledger.timelines(),
            acknowledgements(json.loads(line) for line in journal.read_text().splitlines()),
            {} if answered_s is None else {(agent, stack.routed(agent)): answered_s},
        )
        change = ledger.first_change(agent)
        for line in (*(change.lines if change else ()), *(delay.text for delay in taken)):
            _say(began_s, f"  {line}")
        reached = goals(before, after, audit=stack.run_clorad("audit", "--verify").returncode == 0)
        _report(stack.folder / "report.json", reached, taken, seconds=time.monotonic() - began_s)
        if (uid := ledger.first_taught()) is not None:
            print(f"\nwhat became of one correction (clorad receipt {uid}):\n{stack.clorad('receipt', uid)}")
    return reached


def goals(before: ProseExam, after: ProseExam, *, audit: bool) -> list[Goal]:
    """What the run has to show: rules are followed in words that nobody taught with, and nowhere else."""
    return [
        Goal(what="followed at most 10 % before", met=before.followed <= 0.1, got=f"{before.followed:.0%}"),
        Goal(what="follows 90 % or more now", met=after.followed >= 0.9, got=f"{after.followed:.0%}"),
        *(
            Goal(what=f"{kind} answered as by a rule: at most 5 %", met=share <= 0.05, got=f"{share:.0%}")
            for kind, share in (("near misses", after.near_marked), ("ordinary work", after.chat_marked))
        ),
        Goal(what="audit clean", met=audit, got=str(audit)),
    ]


def _teach(stack: Stack, ledger: LedgerView, people: ProsePeople, agent: str, began_s: float) -> float | None:
    """Correct until another version answers, `ROUNDS_MAX` times at most. When it did (Unix time)."""
    for number in range(ROUNDS_MAX):
        _say(began_s, "people correct what breaks the rules of the first wave")
        replaced, refused = people.correct(WAVE, CORRECTIONS, number), ledger.refusals(agent)
        until = time.monotonic() + LEARNED_S_MAX
        while ledger.refusals(agent) == refused and time.monotonic() < until:
            if faults := stack.faults():
                raise StackFailedError(faults[0])
            if stack.routed(agent) not in ("", replaced):
                people.version()
                return time.time()
            time.sleep(POLL_S)
        _say(began_s, ledger.agents()[agent].verdict or "no verdict in time")
    return None


def _examine(people: ProsePeople, began_s: float, headline: str) -> ProseExam:
    exam = people.exam(WAVE, QUESTIONS)
    _say(
        began_s,
        f"{headline}: {exam.followed:.0%} of n={exam.asked} follow the rules, "
        f"near misses {exam.near_marked:.0%}, ordinary work {exam.chat_marked:.0%}",
    )
    return exam


def _report(path: Path, reached: Sequence[Goal], taken: Sequence[Delay], *, seconds: float) -> None:
    for goal in reached:
        print(f"{'✓' if goal.met else '✗'} {goal.what}: {goal.got}")
    print(f"{sum(goal.met for goal in reached)} of {len(reached)} goals met in {seconds:.0f} s")
    report = {
        "goals": [asdict(goal) for goal in reached],
        "delays": [delay.to_json() for delay in taken],
        "seconds": round(seconds),
    }
    write(path, report)


def _say(began_s: float, line: str) -> None:
    print(f"{time.monotonic() - began_s:5.0f} s  {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
