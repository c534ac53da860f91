"""How much of a turn's new mass each kind of feedback and each author may have.

Every function takes episodes by the `seq` of the event they come from and gives them back with masses
scaled. What counts is mass relative to the other episodes of the same loss term.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ledger.events import Event, Kind
from rewards.episode import Episode

Credited = Mapping[int, tuple[Episode, ...]]
"""Episodes by the `seq` of the event they come from."""

AUTHOR_SHARE = 0.2  # what one of many authors may contribute at most
AUTHOR_SCALE_MIN = 0.25  # else one event of a second author would weigh as much as all of the first one's
TAKEOVER_SHARE = 0.5  # of the demonstrations (IWR: rebalance towards the expert's segments)
TAKEOVER_SCALE_MAX = 4.0  # else one short takeover would weigh as much as forty corrections


def balance(credited: Credited, events: Mapping[int, Event]) -> dict[int, tuple[Episode, ...]]:
    """All of the rules below; the later one prevails. Approvals that nothing may weigh are left out."""
    seqs = {kind: frozenset(seq for seq, one in events.items() if one.kind is kind) for kind in Kind}
    authors = {seq: one.author for seq, one in events.items()}
    balanced = give_takeovers_half(credited, seqs[Kind.TAKEOVER])
    balanced = cap_authors(balanced, authors)
    return bound_approvals(balanced, seqs[Kind.APPROVE], seqs[Kind.REJECT])


def give_takeovers_half(credited: Credited, takeovers: frozenset[int]) -> dict[int, tuple[Episode, ...]]:
    """Operators' turns weigh as much as all other demonstrations, as far as a factor of four allows."""
    theirs = _mass(credited, lambda seq, one: seq in takeovers and is_demonstration(one))
    others = _mass(credited, lambda seq, one: seq not in takeovers and is_demonstration(one))
    if not theirs or not others:
        return dict(credited)
    wanted = others * TAKEOVER_SHARE / (1.0 - TAKEOVER_SHARE) / theirs
    factor = min(max(wanted, 1.0 / TAKEOVER_SCALE_MAX), TAKEOVER_SCALE_MAX)
    return _scaled(credited, lambda seq, one: factor if seq in takeovers and is_demonstration(one) else 1.0)


def cap_authors(credited: Credited, authors: Mapping[int, str]) -> dict[int, tuple[Episode, ...]]:
    """No author has more than max(20 %, 1/authors) of the demonstrations', or of the advantages', mass.

    With fewer than six authors that is an equal share each. Nobody is scaled below `AUTHOR_SCALE_MIN`, so
    a very uneven turn keeps some of its unevenness.
    """
    for in_term in (is_demonstration, is_advantage):
        credited = _cap_term(credited, authors, in_term)
    return dict(credited)


def bound_approvals(
    credited: Credited, approvals: frozenset[int], rejections: frozenset[int]
) -> dict[int, tuple[Episode, ...]]:
    """Approvals weigh at most what rejections do; without any rejection they are left out.

    A batch of praise alone would only sharpen what the agent does anyway.
    """
    praise = _mass(credited, lambda seq, _: seq in approvals)
    blame = _mass(credited, lambda seq, _: seq in rejections)
    if praise <= blame:
        return dict(credited)
    if not blame:
        return {seq: episodes for seq, episodes in credited.items() if seq not in approvals}
    return _scaled(credited, lambda seq, _: blame / praise if seq in approvals else 1.0)


def is_demonstration(episode: Episode) -> bool:
    """Whether it is trained by cross entropy."""
    return episode.advantage is None


def is_advantage(episode: Episode) -> bool:
    """Whether it is trained by policy gradient."""
    return episode.advantage is not None


def _cap_term(credited: Credited, authors: Mapping[int, str], in_term: Callable[[Episode], bool]) -> Credited:
    masses: dict[str, float] = defaultdict(float)
    for seq, episodes in sorted(credited.items()):
        masses[authors[seq]] += sum(one.mass for one in episodes if in_term(one))
    present = {author: mass for author, mass in masses.items() if mass}
    if len(present) < 2:
        return credited
    most = _ceiling(sorted(present.values()), max(AUTHOR_SHARE, 1.0 / len(present)))
    factors = {author: max(AUTHOR_SCALE_MIN, min(1.0, most / mass)) for author, mass in present.items()}
    return _scaled(credited, lambda seq, one: factors[authors[seq]] if in_term(one) else 1.0)


def _ceiling(masses: Sequence[float], share: float) -> float:
    """The largest mass an author may keep so that none has more than `share` of what then remains.

    `masses` ascending. With j authors cut to the ceiling c and `rest` for the others, c = share (j c + rest).
    """
    for cut in range(len(masses)):
        rest = sum(masses[: len(masses) - cut])
        room = 1.0 - cut * share
        if room <= 1e-9:
            break
        ceiling = share * rest / room
        if masses[len(masses) - cut - 1] <= ceiling * (1.0 + 1e-9):
            return ceiling if cut else masses[-1]
    return masses[0]


def _mass(credited: Credited, counts: Callable[[int, Episode], bool]) -> float:
    return sum(one.mass for seq, episodes in credited.items() for one in episodes if counts(seq, one))


def _scaled(credited: Credited, factor: Callable[[int, Episode], float]) -> dict[int, tuple[Episode, ...]]:
    return {
        seq: tuple(replace(one, mass=one.mass * factor(seq, one)) for one in episodes)
        for seq, episodes in credited.items()
    }
