"""Measures a lesson's progress: learned corrections, changed anchors, and the loss on dev episodes.

A turn continues until its corrections are learned or it reaches a bound. All numbers come from the lesson's
own slot, so a repeated pass ends each lesson at the same step.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from engine.base_model import BaseModel
from engine.losses import read_kl
from engine.objective import read_references
from engine.packer import Reference, Tenant
from engine.tokens import Sample

CHECK_STEPS = 4
"""Optimizer steps between two progress checks: a check costs about as much as a step's forward pass."""

LEARNED_SHARE = 0.95
"""Share of the watched corrections that must be learned. Below 20 corrections all must be; above, one in
twenty may contradict the others."""

KEPT_SHARE = 0.998
"""Share of the anchors' tokens that must stay the first choice, of those that are clearly the champion's. A
changed reply differs in a few tokens only. Measured on the example base: with 0.99, rules spread to other
prompts."""

CLEAR_MIN = 0.6
"""Probability from which on a token is clearly the first choice, if any of the anchors' tokens is. In prose
two tokens are often about as likely: which of them is first changes with the weights, and says nothing."""

DEV_EPISODES_MIN = 8  # fewer do not show when to stop
_RISES_MAX = 2  # of the dev loss, in a row
_CORRECTIONS_MAX = 64  # that are watched
_ANCHORS_MAX = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressCheck:
    """Numbers of the watched samples at one step. None: there are no such samples."""

    learned_share: float | None  # corrections whose every wanted token is the likeliest
    kept_share: (
        float | None
    )  # of the anchors' tokens that were clearly the champion's first choice, those that still are
    dev_loss_nats: float | None  # mean over the dev episodes, by mass

    @property
    def learned(self) -> bool:
        """Whether the corrections are learned and the anchors kept."""
        kept = self.kept_share is None or self.kept_share >= KEPT_SHARE
        return kept and self.learned_share is not None and self.learned_share >= LEARNED_SHARE


def dev_loss_rises(looks: Sequence[ProgressCheck]) -> bool:
    """Whether the loss on the dev episodes rose at each of the last two checks."""
    last = [look.dev_loss_nats for look in looks[-_RISES_MAX - 1 :] if look.dev_loss_nats is not None]
    return len(last) > _RISES_MAX and all(after > before for before, after in pairwise(last))


def kept_share(now: Sequence[Reference], champion: Sequence[Reference]) -> float | None:
    """Share of the champion's clear first choices that are still the first choice; None: there are none."""
    if not champion:
        return None
    pairs = list(zip(now, champion, strict=True))
    chosen = [before.top_N for _, before in pairs]
    clear = [before.top_N & (before.logprob_N >= math.log(CLEAR_MIN)) for _, before in pairs]
    if any(bool(clear_N.any()) for clear_N in clear):
        chosen = clear
    first = sum(int(chosen_N.sum()) for chosen_N in chosen)
    kept = sum(
        int((after.top_N & chosen_N).sum()) for (after, _), chosen_N in zip(pairs, chosen, strict=True)
    )
    return kept / first if first else None


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
        anchors: Sequence[tuple[Sample, Reference]],  # with the champion's log-probabilities
        dev: Sequence[Sample],
        token_budget: int,
    ) -> None:
        self._base, self._tenant, self._token_budget = base, tenant, token_budget
        self._corrections = [
            corrections[place] for place in spread(range(len(corrections)), _CORRECTIONS_MAX)
        ]
        self._anchors = list(anchors)
        self._dev = list(dev) if len(dev) >= DEV_EPISODES_MIN else []
        self._anchors_now: list[Reference] = []  # at the last check

    def check(self) -> ProgressCheck:
        """Measure the watched samples under the slot's present weights."""
        beside = [*self._corrections, *self._dev]
        samples = [*beside, *(sample for sample, _ in self._anchors)]
        read = self._read(samples, hidden_too=[place >= len(beside) for place in range(len(samples))])
        self._anchors_now = read[len(beside) :]
        return ProgressCheck(
            learned_share=_learned_share(read[: len(self._corrections)]),
            dev_loss_nats=_loss(self._dev, read[len(self._corrections) : len(beside)]),
            kept_share=kept_share(self._anchors_now, [reference for _, reference in self._anchors]),
        )

    def kl_nats(self) -> float | None:
        """Forward KL from the champion on anchors, mean over tokens, at the last check; None: no anchors."""
        if not self._anchors_now:
            return None
        now_ND = torch.cat([reference.kept_hidden for reference in self._anchors_now])
        champion_ND = torch.cat([reference.kept_hidden for _, reference in self._anchors])
        return float(read_kl(now_ND, champion_ND, self._base.head_VD).mean())

    def _read(self, samples: Sequence[Sample], *, hidden_too: Sequence[bool]) -> list[Reference]:
        if not samples:
            return []
        read = read_references(
            self._base,
            self._tenant,
            samples,
            token_budget=self._token_budget,
            hidden_too=hidden_too,
        )
        return [references[0] for references in read]


def loss_on(base: BaseModel, tenant: Tenant, samples: Sequence[Sample], *, token_budget: int) -> float | None:
    """Weighted cross entropy of the samples' replies, mean by mass; None: there are no samples."""
    if not samples:
        return None
    read = read_references(
        base, tenant, samples, token_budget=token_budget, hidden_too=[False] * len(samples)
    )
    return _loss(samples, [references[0] for references in read])


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
