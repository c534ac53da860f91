"""Opens the scorer that an agent names: built in, an entry point, or a server in the settings.

Names are looked up in this order. A name that is built in cannot be given to another scorer.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

from serving.scoring.entry_points import EntryPointScorer, entry_point_names
from serving.scoring.own import OwnScorer
from serving.scoring.scorers import SCORERS, UnknownScorer

OpenScorer = Callable[[], OwnScorer]
"""Opens a scorer for one candidate."""


def scorer_names(configured: Sequence[str] = ()) -> list[str]:
    """The names that an agent may give its scorer; `configured` are those of servers in the settings."""
    return list(dict.fromkeys([*SCORERS, *entry_point_names(), *configured]))


class ScorerRegistry:
    """Every scorer by its name."""

    def __init__(
        self, servers: Mapping[str, OpenScorer] = MappingProxyType({}), *, wait_s_max: float
    ) -> None:
        """`servers` are those of the settings. One prompt may take `wait_s_max` seconds."""
        self._servers = servers
        self._wait_s_max = wait_s_max

    def check(self, name: str) -> None:
        """Raise `UnknownScorer` where there is no scorer of this name."""
        self._opening(name)

    @contextmanager
    def opened(self, name: str) -> Iterator[OwnScorer | None]:
        """The scorer for one candidate, closed afterwards; None: it is built in. Raises `UnknownScorer`."""
        opening = self._opening(name)
        if opening is None:
            yield None
            return
        scorer = opening()
        try:
            yield scorer
        finally:
            scorer.close()

    def _opening(self, name: str) -> OpenScorer | None:
        if name in SCORERS:
            return None
        if name in entry_point_names():
            return lambda: EntryPointScorer(name, wait_s_max=self._wait_s_max)
        if name not in self._servers:
            raise UnknownScorer(name, scorer_names(list(self._servers)))
        return self._servers[name]
