"""Limits the share of a turn's new mass that each kind of feedback and each author may have.

Every function takes episodes by the `seq` of the event they come from and returns them with scaled masses.
Only the mass relative to the other episodes of the same loss term matters.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from feedback.people import person_of
from ledger.events import Event, Kind
from rewards.episode import Episode

Credited = Mapping[int, tuple[Episode, ...]]
"""Episodes by the `seq` of the event they come from."""

AUTHOR_SHARE = 0.2  # the largest share of one author among many
AUTHOR_SCALE_MIN = 0.25  # else one event of a second author would weigh as much as all of the first one's
TAKEOVER_SHARE = 0.5  # of the demonstrations (IWR: rebalance towards the expert's segments)
TAKEOVER_SCALE_MAX = 4.0  # else one short takeover would weigh as much as forty corrections


def balance(credited: Credited, events: Mapping[int, Event]) -> dict[int, tuple[Episode, ...]]:
    """Apply the three rules below, in this order. Approvals without any rejection are left out."""
    seqs = {kind: frozenset(seq for seq, event in events.items() if event.kind is kind) for kind in Kind}
    authors = {seq: person_of(event.author) for seq, event in events.items()}
    balanced = give_takeovers_half(credited, seqs[Kind.TAKEOVER])
    balanced = cap_authors(balanced, authors)
    return bound_approvals(balanced, seqs[Kind.APPROVE], seqs[Kind.REJECT])


def give_takeovers_half(credited: Credited, takeovers: frozenset[int]) -> dict[int, tuple[Episode, ...]]:
    """Scale takeovers to the mass of all other demonstrations together, by a factor of four at most."""
    takeover_mass = _mass(credited, lambda seq, episode: seq in takeovers and is_demonstration(episode))
    other_mass = _mass(credited, lambda seq, episode: seq not in takeovers and is_demonstration(episode))
    if not takeover_mass or not other_mass:
        return dict(credited)
    factor_wanted = other_mass * TAKEOVER_SHARE / (1.0 - TAKEOVER_SHARE) / takeover_mass
    factor = min(max(factor_wanted, 1.0 / TAKEOVER_SCALE_MAX), TAKEOVER_SCALE_MAX)
    return _scaled(
        credited, lambda seq, episode: factor if seq in takeovers and is_demonstration(episode) else 1.0
    )


def cap_authors(credited: Credited, authors: Mapping[int, str]) -> dict[int, tuple[Episode, ...]]:
    """No author has more than max(20 %, 1/authors) of the demonstrations', or of the advantages', mass.

    With fewer than six authors that is an equal share each. No author's mass is scaled by less than
    `AUTHOR_SCALE_MIN`, so a very uneven turn stays partly uneven.
    """
    for in_term in (is_demonstration, is_advantage):
        credited = _cap_term(credited, authors, in_term)
    return dict(credited)


def bound_approvals(
    credited: Credited, approvals: frozenset[int], rejections: frozenset[int]
) -> dict[int, tuple[Episode, ...]]:
    """Approvals weigh at most as much as rejections; without any rejection they are left out.

    A batch of approvals alone would only make the agent more certain of what it does already.
    """
    approval_mass = _mass(credited, lambda seq, _: seq in approvals)
    rejection_mass = _mass(credited, lambda seq, _: seq in rejections)
    if approval_mass <= rejection_mass:
        return dict(credited)
    if not rejection_mass:
        return {seq: episodes for seq, episodes in credited.items() if seq not in approvals}
    return _scaled(credited, lambda seq, _: rejection_mass / approval_mass if seq in approvals else 1.0)


def is_demonstration(episode: Episode) -> bool:
    """Whether it is trained by cross entropy."""
    return episode.advantage is None


def is_advantage(episode: Episode) -> bool:
    """Whether it is trained by policy gradient."""
    return episode.advantage is not None


def _cap_term(credited: Credited, authors: Mapping[int, str], in_term: Callable[[Episode], bool]) -> Credited:
    masses: dict[str, float] = defaultdict(float)
    for seq, episodes in sorted(credited.items()):
        masses[authors[seq]] += sum(episode.mass for episode in episodes if in_term(episode))
    masses_present = {author: mass for author, mass in masses.items() if mass}
    if len(masses_present) < 2:
        return credited
    ceiling = _ceiling(sorted(masses_present.values()), max(AUTHOR_SHARE, 1.0 / len(masses_present)))
    factors = {
        author: max(AUTHOR_SCALE_MIN, min(1.0, ceiling / mass)) for author, mass in masses_present.items()
    }
    return _scaled(credited, lambda seq, episode: factors[authors[seq]] if in_term(episode) else 1.0)


def _ceiling(masses: Sequence[float], share: float) -> float:
    """The largest mass an author may keep, so that none has more than `share` of the mass that then remains.

    `masses` ascending. With j authors cut to the ceiling c and `rest` for the others, c = share (j c + rest).
    """
    for cut in range(len(masses)):
        rest = sum(masses[: len(masses) - cut])
        divisor = 1.0 - cut * share
        if divisor <= 1e-9:
            break
        ceiling = share * rest / divisor
        if masses[len(masses) - cut - 1] <= ceiling * (1.0 + 1e-9):
            return ceiling if cut else masses[-1]
    return masses[0]


def _mass(credited: Credited, counts: Callable[[int, Episode], bool]) -> float:
    return sum(
        episode.mass for seq, episodes in credited.items() for episode in episodes if counts(seq, episode)
    )


def _scaled(credited: Credited, factor: Callable[[int, Episode], float]) -> dict[int, tuple[Episode, ...]]:
    return {
        seq: tuple(replace(episode, mass=episode.mass * factor(seq, episode)) for episode in episodes)
        for seq, episodes in credited.items()
    }
