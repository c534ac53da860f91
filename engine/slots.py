"""Loads agents' adapters into slots of the arena while they train, and frees the slots again.

Parsed versions stay in memory up to a bound, one for each agent; the least recently used is dropped first. A
version never changes, so its path is its key.
"""

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from engine.adapter_weights import Adapter, AdapterRefused, Matrices, read_adapter, refuse_mismatch
from engine.arena import Arena
from engine.lesson import Lesson
from engine.recipe import Recipe

PARSED_BYTES_MAX = 1 << 30


class Slots:
    """The arena's slots; the lowest free one is used next."""

    def __init__(
        self,
        arena: Arena,
        *,
        base_hash: str,
        frozen_linears: frozenset[str] = frozenset(),  # names of linears that no adapter of this base has
        parsed_bytes_max: int = PARSED_BYTES_MAX,
    ) -> None:
        self._arena, self._base_hash, self._frozen_linears = arena, base_hash, frozen_linears
        self._parsed_bytes_max = parsed_bytes_max
        self._free = list(range(arena.slots))
        self._parsed: OrderedDict[Path, tuple[Path, Adapter]] = OrderedDict()  # by the agent's directory
        self.parsed_bytes = 0  # size of the parsed versions in memory

    @property
    def free(self) -> int:
        """Number of free slots."""
        return len(self._free)

    def attach(self, lesson: Lesson) -> int:
        """Load the lesson's champion, or a fresh adapter, into a slot. Raises `AdapterRefused`."""
        recipe = lesson.recipe
        if recipe.rank > self._arena.rank:
            raise AdapterRefused(f"rank {recipe.rank} is above the engine's {self._arena.rank}")
        names = self.names(recipe)
        if lesson.parent is None:
            adapter = Adapter(
                rank=recipe.rank,
                alpha=recipe.alpha,
                rslora=recipe.rslora,
                targets=self._targets(recipe),
                base_hash=self._base_hash,
                weights=fresh_weights(self._arena, names, rank=recipe.rank, seed=lesson.seed),
            )
        else:
            adapter = self.read(lesson.parent)
            expected = replace(recipe, targets=self._targets(recipe))
            refuse_mismatch(adapter, expected, base_hash=self._base_hash, name=lesson.parent.name)
        return self.load(adapter, moments_too=recipe.carry_moments)

    def load(self, adapter: Adapter, *, moments_too: bool) -> int:
        """Load the adapter into a free slot, bit for bit; without its moments its step count starts at 0."""
        self._refuse_misfit(adapter)
        arena = self._arena
        slot = self._free.pop(0)
        arena.clear(slot)
        arena.write(arena.weight, slot, adapter.weights)
        if moments_too and adapter.first is not None and adapter.second is not None:
            arena.write(arena.first, slot, adapter.first)
            arena.write(arena.second, slot, adapter.second)
            arena.steps[slot].fill_(adapter.steps)
        arena.refresh(slot)
        return slot

    def copy(self, slot: int, recipe: Recipe) -> Adapter:
        """A copy of the slot's adapter, for saving."""
        arena, names = self._arena, self.names(recipe)
        weights, first, second = (
            arena.read(rows, slot, rank=recipe.rank, names=names)
            for rows in (arena.weight, arena.first, arena.second)
        )
        return Adapter(
            rank=recipe.rank,
            alpha=recipe.alpha,
            rslora=recipe.rslora,
            targets=self._targets(recipe),
            base_hash=self._base_hash,
            weights=weights,
            first=first,
            second=second,
            steps=int(arena.steps[slot]),
        )

    def detach(self, slot: int) -> None:
        """Free the slot and set it to zero."""
        assert slot not in self._free
        self._arena.clear(slot)
        self._free.append(slot)
        self._free.sort()

    def read(self, directory: Path) -> Adapter:
        """The parsed version; from memory if it is the last one that was read for its agent."""
        agent = directory.parent
        directory_read, adapter = self._parsed.get(agent, (None, None))
        if adapter is None or directory_read != directory:
            self._forget(agent)
            adapter = read_adapter(directory)
            self._parsed[agent] = (directory, adapter)
            self.parsed_bytes += adapter.bytes
        self._parsed.move_to_end(agent)
        while self.parsed_bytes > self._parsed_bytes_max and len(self._parsed) > 1:
            self._forget(next(iter(self._parsed)))
        return adapter

    def names(self, recipe: Recipe) -> list[str]:
        """The linears that a recipe adapts. Raises `AdapterRefused` for a target that this base lacks."""
        targets = self._targets(recipe)
        names = [name for name in self._arena.places if name.rsplit(".", 1)[-1] in targets]
        if missing := set(targets) - {name.rsplit(".", 1)[-1] for name in names}:
            raise AdapterRefused(
                f"the base has no layers named {', '.join(sorted(missing))} that can be adapted"
            )
        return names

    def _targets(self, recipe: Recipe) -> tuple[str, ...]:
        """The recipe's targets without the linears that no adapter of this base has."""
        targets = tuple(target for target in recipe.targets if target not in self._frozen_linears)
        if not targets:
            raise AdapterRefused(
                f"{', '.join(recipe.targets)} are not adapted on a base with experts, only its attention is"
            )
        return targets

    def _forget(self, agent: Path) -> None:
        if agent in self._parsed:
            _, dropped = self._parsed.pop(agent)
            self.parsed_bytes -= dropped.bytes

    def _refuse_misfit(self, adapter: Adapter) -> None:
        if adapter.rank > self._arena.rank:
            raise AdapterRefused(f"rank {adapter.rank} is above the engine's {self._arena.rank}")
        for name, (a, b) in adapter.weights.items():
            place = self._arena.places.get(name)
            if place is None:
                raise AdapterRefused(f"the base has no layer named {name} that can be adapted")
            if a.shape != (adapter.rank, place.inputs) or b.shape != (place.outputs, adapter.rank):
                raise AdapterRefused(f"{name} has other shapes than the base's")


def fresh_weights(arena: Arena, names: list[str], *, rank: int, seed: int) -> Matrices:
    """PEFT's initialisation by seed: A uniform within ±1/√inputs (Kaiming with a = √5), B zero."""
    chance = torch.Generator().manual_seed(seed)

    def a_of(inputs: int) -> Tensor:
        return torch.empty(rank, inputs).uniform_(-(inputs**-0.5), inputs**-0.5, generator=chance)

    return {
        name: (a_of(arena.places[name].inputs), torch.zeros(arena.places[name].outputs, rank))
        for name in names
    }
