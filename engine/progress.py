"""How far a lesson is: which corrections are learned, how far anchors moved, whether dev episodes get better.

A turn goes on until it has learned what it is about, or a bound is reached. Every number here comes from the
lesson's own slot, so the same pass ends each of its lessons at the same step.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from engine.base_model import BaseModel
from engine.losses import forward_kl
from engine.objective import read_references
from engine.packer import Reference, Tenant
from engine.tokens import Sample

LOOK_STEPS = 4
"""Optimizer steps between two looks: a look costs about as much as a step's forward pass."""

LEARNED_SHARE = 0.95
"""Of the watched corrections. All of fewer than 20; of more, one in twenty may contradict the others."""

KEPT_SHARE = 0.998
"""Of the tokens of anchors that were the champion's first choice. A reply that changed course differs in a
few of its tokens. Measured on the example base: with 0.99, rules leaked where no anchor stood."""

DEV_EPISODES_MIN = 8  # fewer say nothing about when to stop
_RISES_MAX = 2  # of the dev loss, in a row
_CORRECTIONS_MAX = 64  # that are watched
_ANCHORS_MAX = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the adapter made of the watched samples at one step. None: there are none."""

    learned_share: float | None  # of the corrections: every token of the wanted reply is the likeliest
    kept_share: float | None  # of the anchors' tokens that were the champion's first choice: they still are
    dev_loss_nats: float | None  # mean over the dev episodes, by mass

    @property
    def learned(self) -> bool:
        """Whether the corrections are learned and the anchors kept."""
        kept = self.kept_share is None or self.kept_share >= KEPT_SHARE
        return kept and self.learned_share is not None and self.learned_share >= LEARNED_SHARE


def dev_loss_rises(looks: Sequence[Look]) -> bool:
    """Whether the loss on the dev episodes rose at the last two looks."""
    last = [look.dev_loss_nats for look in looks[-_RISES_MAX - 1 :] if look.dev_loss_nats is not None]
    return len(last) > _RISES_MAX and all(now > before for before, now in pairwise(last))


def spread(items: Sequence[int], count: int) -> list[int]:
    """At most `count` of the items, evenly spaced."""
    return list(items[:: math.ceil(len(items) / count) or 1])


def watched_anchors(anchors: Sequence[int]) -> list[int]:
    """Which of the anchors are watched, by index."""
    return spread(anchors, _ANCHORS_MAX)


class WatchedSamples:
    """The samples by which a lesson's progress is measured."""

    def __init__(
        self,
        base: BaseModel,
        tenant: Tenant,
        *,
        corrections: Sequence[Sample],
        anchors: Sequence[tuple[Sample, Reference]],  # with what the champion made of them
        dev: Sequence[Sample],
        token_budget: int,
    ) -> None:
        self._base, self._tenant, self._token_budget = base, tenant, token_budget
        self._corrections = [
            corrections[place] for place in spread(range(len(corrections)), _CORRECTIONS_MAX)
        ]
        self._anchors = list(anchors)
        self._dev = list(dev) if len(dev) >= DEV_EPISODES_MIN else []

    def look(self) -> Look:
        """What the slot's present weights make of the watched samples."""
        anchors = [sample for sample, _ in self._anchors]
        read = self._read([*self._corrections, *self._dev, *anchors], hidden_too=False)
        first_dev, first_anchor = len(self._corrections), len(self._corrections) + len(self._dev)
        return Look(
            learned_share=_learned_share(read[:first_dev]),
            dev_loss_nats=_loss(self._dev, read[first_dev:first_anchor]),
            kept_share=_kept_share(read[first_anchor:], [reference for _, reference in self._anchors]),
        )

    @torch.no_grad()
    def moved_nats(self) -> float | None:
        """Forward KL from the champion on anchors, mean over tokens; None: there are none."""
        if not self._anchors:
            return None
        now = self._read([sample for sample, _ in self._anchors], hidden_too=True)
        now_ND = torch.cat([reference.kept_hidden for reference in now])
        champion_ND = torch.cat([reference.kept_hidden for _, reference in self._anchors])
        return float(forward_kl(now_ND, champion_ND, self._base.head_VD).mean())

    def _read(self, samples: Sequence[Sample], *, hidden_too: bool) -> list[Reference]:
        if not samples:
            return []
        read = read_references(
            self._base,
            self._tenant,
            samples,
            token_budget=self._token_budget,
            hidden_too=[hidden_too] * len(samples),
        )
        return [references[0] for references in read]


def _kept_share(now: Sequence[Reference], champion: Sequence[Reference]) -> float | None:
    if not champion:
        return None
    pairs = list(zip(now, champion, strict=True))
    first = sum(int(before.top_N.sum()) for _, before in pairs)
    still = sum(int((after.top_N & before.top_N).sum()) for after, before in pairs)
    return still / first if first else None


def _learned_share(replies: Sequence[Reference]) -> float | None:
    return sum(bool(reply.top_N.all()) for reply in replies) / len(replies) if replies else None


def _loss(samples: Sequence[Sample], replies: Sequence[Reference]) -> float | None:
    """Weighted cross entropy of the samples' replies, mean by mass."""
    if not samples:
        return None
    losses = [
        -sum(
            weight * logprob
            for weight, logprob in zip(sample.reply.weights, reply.logprob_N.tolist(), strict=True)
        )
        for sample, reply in zip(samples, replies, strict=True)
    ]
    mass = sum(sample.mass for sample in samples)
    return float(sum(sample.mass * loss for sample, loss in zip(samples, losses, strict=True))) / mass
