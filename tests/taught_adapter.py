"""Adapters that the engine taught for tests, and what a real vLLM answers to their probes."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from engine.lesson import Learned, Lesson
from engine.measurements import Probe
from engine.recipe import Recipe
from engine.warm_engine import WarmEngine
from rewards.episode import Episode, Part, Weighted
from serving.fleet.parity import Parity, compare, request_of
from serving.fleet.replica import Replica

RECIPE = Recipe(rank=8, alpha=16.0, steps=30, steps_min=30, learning_rate=5e-3)

Probes = Sequence[Probe]


def lesson(what: str) -> Lesson:
    """Some orders to do `what` to, and what was right before."""

    def episode(part: Part, number: int, reply: str) -> Episode:
        asked = ({"role": "user", "content": f"{part.value} order {number} please"},)
        return Episode(events=(f"t#{part}{number}",), part=part, messages=asked, reply=Weighted(text=reply))

    new = [episode(Part.NEW, number, f"{what} order {number}") for number in range(40, 46)]
    known = [episode(Part.ANCHOR, number, f"close order {number}") for number in range(50, 54)]
    return Lesson(agent="a", parent=None, recipe=RECIPE, seed=1, episodes=(*new, *known))


def taught(base: Path, what: str, directory: Path) -> tuple[Path, Probes]:
    """An adapter that was trained, and its probes."""
    engine = WarmEngine.load(base, slots=1, rank=8, threads=1, token_budget=512, mixing="never")
    given = lesson(what)
    (result,) = engine.learn([given])
    assert isinstance(result, Learned)
    directory.mkdir()
    engine.save(result, directory)
    return directory, engine.probes(result, given)


def probed(replica: Replica, base: str, path: Path, probes: Probes) -> Parity:
    """What the fleet finds out about the adapter at `path` on this replica."""
    model = f"a@v1-{sha256(str(path).encode()).hexdigest()[:6]}"  # vLLM caches by name: never the same twice
    replica.load(model, str(path))
    return asked(replica, base, model, probes)


def asked(replica: Replica, base: str, model: str, probes: Probes) -> Parity:
    questions = [request_of(probe) for probe in probes]
    with ThreadPoolExecutor(8) as pool:
        served = pool.map(lambda question: replica.continuation(model, *question), questions)
        bare = pool.map(lambda question: replica.continuation(base, *question), questions)
        return compare(probes, list(served), list(bare))
