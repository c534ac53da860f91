"""`make demo`: simulated people correct three agents until they follow their company's house rules.

Starts real Kafka, real vLLM and clorad in .demo/, runs the world, and exits with 0 only if every goal is met.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from examples.house_rules import report
from examples.house_rules.demo_options import DemoOptions
from examples.house_rules.demo_run import DemoFailedError, DemoRun
from examples.house_rules.ledger_view import LedgerView
from examples.house_rules.recipe import SETTLE_S
from examples.house_rules.report import Figures, Goal
from examples.house_rules.stack import BASE, ROOT, Stack, StackFailedError, StackOptions
from examples.house_rules.view import View
from examples.house_rules.world_file import BrokenWorldError, read_world

SHOP = Path(__file__).with_name("worlds") / "shop.toml"
FOLDER = ROOT / ".demo"
_FAILED, _BROKEN = 1, 2


def main(words: Sequence[str] | None = None) -> int:
    """Run the demo. Returns 0: every goal met; 1: some were not; 2: it could not run; 130: interrupted."""
    arguments = _parser().parse_args(words)
    console = Console()
    stack = ledger = None
    try:
        options = _options(arguments)
        stack = Stack(
            StackOptions(
                folder=FOLDER,
                agents={agent: options.world.scorers[agent] for agent in options.agents},
                replicas=2 if options.chaos else 1,
                separate_roles=options.chaos,
            )
        )
        console.print("starting Kafka, vLLM and clorad …")
        console.print(
            f"people have {SETTLE_S:.0f} s to object to an answer: learning.settle_s, an hour by default"
        )
        stack.launch()
        if stack.broker == "mock":
            console.print(_MOCK)
        ledger = LedgerView(stack.ledger_url)
        return _run(options, stack, ledger, console)
    except (BrokenWorldError, StackFailedError, DemoFailedError, OSError) as fault:
        console.print(f"demo: {fault}", markup=False, style="red", soft_wrap=True)
        return _BROKEN
    except KeyboardInterrupt:
        console.print("interrupted; stopping everything")
        return 130
    finally:
        if ledger is not None:
            ledger.close()
        if stack is not None:
            stack.stop()


def _run(options: DemoOptions, stack: Stack, ledger: LedgerView, console: Console) -> int:
    progress = options.progress(stack.broker)
    with View(progress, console) as view:
        figures = DemoRun(options, stack, ledger, view, progress).run()
        view.save_svg(stack.folder / "view.svg")
    reached = report.goals(figures, whole=options.whole, full=options.full, chaos=options.chaos)
    report.write(stack.folder / "report.json", report.as_json(figures, reached))
    _show(console, figures, reached)
    if (uid := ledger.first_taught()) is not None:
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
    if figures.first_followed_s is not None:
        console.print(
            f"an agent followed its first rule {figures.first_followed_s:.0f} s after vLLM was ready"
        )
    console.print(
        f"{met} of {len(reached)} goals met in {figures.seconds:.0f} s; figures in .demo/report.json"
    )


def _options(arguments: argparse.Namespace) -> DemoOptions:
    if not (BASE / "config.json").is_file():
        raise StackFailedError("no base model in examples/base_model/weights; make it with: make base-model")
    full = arguments.full or arguments.chaos
    world = read_world(arguments.world)
    if not full:
        world = world.up_to(1)
    agents = world.agents if full else world.short
    count = 1 if arguments.first_form else arguments.agents or len(agents)
    if not 1 <= count <= len(agents):
        raise BrokenWorldError(f"{arguments.world.name} has {len(agents)} agents, not {count}")
    return DemoOptions(
        world=world,
        world_file=arguments.world.resolve(),
        agents=agents[:count],
        whole=not arguments.first_form,
        full=full,
        chaos=arguments.chaos,
        n=100 if full else 70,
        seed=arguments.seed,
        seconds_max=2400.0 if full else 1500.0,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.house_rules.demo", description=__doc__)
    parser.add_argument("--world", type=Path, default=SHOP, help="a world file (WORLDS.md)")
    parser.add_argument("--agents", type=int, default=None, help="only the first N agents of the world")
    parser.add_argument("--full", action="store_true", help="every wave, a bad batch, and more requests")
    parser.add_argument("--chaos", action="store_true", help="the same, while roles and a replica are killed")
    parser.add_argument("--first-form", action="store_true", help="one agent and one developer, nothing else")
    parser.add_argument("--seed", type=int, default=1, help="of the prompts that people think of")
    return parser


_MOCK = (
    "no Java here: this runs on librdkafka's mock cluster, not on Kafka "
    "(apt-get install -y openjdk-17-jre-headless maven)"
)


if __name__ == "__main__":
    sys.exit(main())
