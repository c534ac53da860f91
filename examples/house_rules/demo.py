"""`make demo`: agents learn their company's house rules from the people around them, while you watch.

Starts real Kafka, real vLLM and clorad in .demo/, plays the world, and exits 0 only if every goal was met.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from examples.house_rules import report
from examples.house_rules.ledger_view import LedgerView
from examples.house_rules.play import Play, PlayFailedError, Script
from examples.house_rules.report import Figures, Goal
from examples.house_rules.stack import BASE, ROOT, Plan, Stack, StackFailedError
from examples.house_rules.view import View
from examples.house_rules.world import World
from examples.house_rules.world_file import BrokenWorldError, read_world

SHOP = Path(__file__).with_name("worlds") / "shop.toml"
FOLDER = ROOT / ".demo"
_FAILED, _BROKEN = 1, 2


def main(words: Sequence[str] | None = None) -> int:
    """Play and report. 0: every goal met; 1: not; 2: it could not be played; 130: interrupted."""
    given = _parser().parse_args(words)
    console = Console()
    stack = window = None
    try:
        script = _script(given)
        stack = Stack(
            Plan(
                folder=FOLDER,
                agents={agent: script.world.scorers[agent] for agent in script.agents},
                replicas=2 if script.chaos else 1,
                separate_roles=script.chaos,
            )
        )
        console.print("starting Kafka, vLLM and clorad …")
        stack.start()
        if stack.broker == "mock":
            console.print(_MOCK)
        window = LedgerView(stack.ledger_url)
        return _perform(script, stack, window, console)
    except (BrokenWorldError, StackFailedError, PlayFailedError, OSError) as fault:
        console.print(f"demo: {fault}", markup=False, style="red", soft_wrap=True)
        return _BROKEN
    except KeyboardInterrupt:
        console.print("interrupted; stopping everything")
        return 130
    finally:
        if window is not None:
            window.close()
        if stack is not None:
            stack.stop()


def _perform(script: Script, stack: Stack, window: LedgerView, console: Console) -> int:
    scene = script.scene(stack.broker)
    with View(scene, console) as view:
        play = Play(script, stack, window, view, scene)
        figures = play.run()
        view.save_svg(stack.folder / "view.svg")
    reached = report.goals(figures, whole=script.whole, chaos=script.chaos)
    report.write(stack.folder / "report.json", report.as_json(figures, reached))
    _show(console, figures, reached)
    if (uid := window.first_taught()) is not None:
        console.print(f"\nwhat became of one correction (clorad receipt {uid}):", soft_wrap=True)
        console.print(stack.clorad("receipt", uid), markup=False, highlight=False)
    if stack.broker == "mock":
        console.print(_MOCK)
    return 0 if all(goal.met for goal in reached) else _FAILED


def _show(console: Console, figures: Figures, reached: Sequence[Goal]) -> None:
    for goal in reached:
        mark, style = ("✓", "green") if goal.met else ("✗", "red")
        console.print(f"{mark} {goal.what}: {goal.got}", style=style, markup=False, soft_wrap=True)
    met = sum(goal.met for goal in reached)
    console.print(
        f"{met} of {len(reached)} goals met in {figures.seconds:.0f} s; figures in .demo/report.json"
    )


def _script(given: argparse.Namespace) -> Script:
    if not (BASE / "config.json").is_file():
        raise StackFailedError("no base model in examples/base_model/weights; make it with: make base-model")
    world: World = read_world(given.world)
    count = 1 if given.first_form else given.agents or len(world.agents)
    if not 1 <= count <= len(world.agents):
        raise BrokenWorldError(f"{given.world.name} has {len(world.agents)} agents, not {count}")
    return Script(
        world=world,
        world_file=given.world.resolve(),
        agents=world.agents[:count],
        whole=not given.first_form,
        chaos=given.chaos,
        n=100,
        seed=given.seed,
        seconds_max=2400.0 if given.chaos else 1500.0,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.house_rules.demo", description=__doc__)
    parser.add_argument("--world", type=Path, default=SHOP, help="a world file (WORLDS.md)")
    parser.add_argument("--agents", type=int, default=None, help="only the first N agents of the world")
    parser.add_argument("--chaos", action="store_true", help="kill roles and a replica while it plays")
    parser.add_argument("--first-form", action="store_true", help="one agent and one developer, nothing else")
    parser.add_argument("--seed", type=int, default=1, help="of the prompts people think of")
    return parser


_MOCK = (
    "no Java here: this runs on librdkafka's mock cluster, not on Kafka "
    "(apt-get install -y openjdk-17-jre-headless maven)"
)


if __name__ == "__main__":
    sys.exit(main())
