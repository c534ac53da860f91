"""Finds the people behind each correction: all authors whose corrections teach the same change.

A correction by one person alone waits until another person's correction teaches the same change. Corrections
are compared one by one, so a person gains nothing by mixing many forms, or honest corrections with others.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from feedback.people import person_of
from ledger.events import CORRECTING, KeptEvent, Kind
from ledger.intake.ownership import JUDGE_RIGHT
from rewards.answered_turns import said_by
from rewards.exchange import Exchange, History, asked, is_same_prompt, prompt_key
from rewards.replies import reply_text

SHOWING = (*CORRECTING, Kind.TAKEOVER)
"""Kinds of events that show the agent a reply."""

_CHARS_MAX = 8000  # a longer text is like an equal text only, which bounds the work
_COMPARED_MAX = 500  # of one author's corrections with one of another author
_TOKENS = re.compile(r"[^\W_]+|[^\w\s]|_")
_HUMPS = re.compile(r"(?<=[^\W_A-Z])(?=[A-Z])")  # where a word begins in aNameLikeThis


@dataclass(frozen=True, slots=True, kw_only=True)
class Supporters:
    """The people behind each correction, by `seq`."""

    people: Mapping[int, frozenset[str]]  # with its own author
    authors_min: int
    trusted: frozenset[int] = frozenset()  # corrections by a trusted person, or like a trusted person's

    def are_enough(self, seq: int) -> bool:
        """Whether enough people stand behind a correction, or one who is trusted to judge."""
        return self.stands_alone(seq) or len(self.people.get(seq, ())) >= self.authors_min

    def confirmed(self, events: Iterable[KeptEvent]) -> list[KeptEvent]:
        """The events without those that show the agent a reply and wait for another person."""
        return [kept for kept in events if kept.event.kind not in SHOWING or self.are_enough(kept.seq)]

    def stands_alone(self, seq: int) -> bool:
        """Whether one person is enough for a correction."""
        return self.authors_min <= 1 or seq in self.trusted


def find_supporters(
    events: Iterable[KeptEvent],
    *,
    history: History,
    authors_min: int,
    approvals: Iterable[KeptEvent] = (),
) -> Supporters:
    """Find the people behind each correction, override and takeover among `events`.

    Two of them are alike when their replies use the same words, but for words that a reply copies from its
    own prompt: those count as slots, also within names of code (`read_orders`). Where both are about captured
    answers, so that nobody made up what was rejected, only changes count: each brings in only words that the
    other's reply has too, at least half of them brought in there as well; or both leave out the same words.
    Whoever approved the very reply to the very prompt stands behind it too. An author with the right to judge
    is enough.

    Not seen: the order of words, which slot stands where, and on which prompts a change is right. What people
    approved guards those (`rewards.suite`).
    """
    events = _each_once(events)
    changes = [change for kept in events if (change := _change_of(kept, history))]
    people: dict[int, set[str]] = {change.seq: {change.author} for change in changes}
    trusted = {kept.seq for kept in events if JUDGE_RIGHT in kept.event.rights}
    judged = {change.seq for change in changes if change.seq in trusted}
    if authors_min > 1:
        approvers = _approvers_of(approvals, history)
        index = _Index(changes)
        for change in changes:
            people[change.seq] |= approvers.get((change.prompt, change.text), frozenset())
            for author, other_change in index.alike(change):
                people[change.seq].add(author)
                if other_change.seq in trusted:
                    judged.add(change.seq)
                if len(people[change.seq]) >= authors_min and not trusted:
                    break
    return Supporters(
        people={seq: frozenset(authors) for seq, authors in people.items()},
        authors_min=authors_min,
        trusted=frozenset(judged),
    )


def author_of(kept: KeptEvent) -> str:
    """The author for counting people."""
    return person_of(kept.event.author)


@dataclass(frozen=True, kw_only=True)
class _Change:
    """The words that one correction changed."""

    seq: int
    author: str
    prompt: tuple[str, ...]
    text: str  # the reply it wants
    prompt_words: frozenset[str]  # in lower case
    reply: Sequence[str]  # words of the reply it wants, in order
    rejected: frozenset[str] | None  # None where only the author says what the agent had said

    @cached_property
    def words(self) -> frozenset[str]:
        return frozenset(self.reply)

    @cached_property
    def own_words(self) -> frozenset[str]:
        """Words of the reply that are not copied from the prompt."""
        return self._without_slots(self.words)

    @cached_property
    def brought(self) -> frozenset[str]:
        return self.words - (self.rejected or frozenset())

    @cached_property
    def own_brought(self) -> frozenset[str]:
        return self._without_slots(self.brought)

    @cached_property
    def left_out(self) -> frozenset[str]:
        return (self.rejected or frozenset()) - self.words

    @cached_property
    def own_left_out(self) -> frozenset[str]:
        return self._without_slots(self.left_out)

    @cached_property
    def shape(self) -> tuple[str, ...]:
        """The reply with its slots empty."""
        return tuple("" if word.lower() in self.prompt_words else word for word in self.reply)

    def _without_slots(self, words: frozenset[str]) -> frozenset[str]:
        return frozenset(word for word in words if word.lower() not in self.prompt_words)


def _are_alike(first: _Change, second: _Change) -> bool:
    if first.text == second.text and first.prompt == second.prompt:
        return True
    if first.rejected is None or second.rejected is None:
        if not first.own_words and not second.own_words:
            return first.shape == second.shape
        return first.own_words <= second.words and second.own_words <= first.words
    if first.own_brought or second.own_brought:
        return (
            first.own_brought <= second.words
            and second.own_brought <= first.words
            and 2 * len(first.own_brought & second.brought) >= len(first.own_brought)
            and 2 * len(second.own_brought & first.brought) >= len(second.own_brought)
        )
    if first.own_left_out or second.own_left_out:
        return first.own_left_out <= second.left_out and second.own_left_out <= first.left_out
    return first.shape == second.shape


class _Index:
    """Finds, for a change, the changes of other authors that may be like it."""

    def __init__(self, changes: Sequence[_Change]) -> None:
        self._by_key: dict[object, dict[str, list[_Change]]] = defaultdict(lambda: defaultdict(list))
        for change in changes:
            for key in {change.text, change.shape, *change.words, *change.left_out}:
                self._by_key[key][change.author].append(change)

    def alike(self, change: _Change) -> Iterable[tuple[str, _Change]]:
        """For each other author the newest change that is like this one."""
        for author, others in self._candidates(change).items():
            newest_first = others[: -_COMPARED_MAX - 1 : -1]
            if other_change := next((other for other in newest_first if _are_alike(change, other)), None):
                yield author, other_change

    def _candidates(self, change: _Change) -> Mapping[str, Sequence[_Change]]:
        """Changes that share the rarest word that all changes like this one have, or its shape."""
        words = change.own_words if change.rejected is None else change.own_brought or change.own_left_out
        keys: list[object] = [change.text, change.shape]
        if words:
            keys.append(min(words, key=lambda word: (self._count(word), word)))
        candidates: dict[str, list[_Change]] = defaultdict(list)
        for key in keys:
            for author, others in self._by_key.get(key, {}).items():
                if author != change.author:
                    candidates[author].extend(others)
        return candidates

    def _count(self, word: str) -> int:
        return sum(map(len, self._by_key[word].values()))


def _change_of(kept: KeptEvent, history: History) -> _Change | None:
    event = kept.event
    if event.kind not in SHOWING:
        return None
    exchange = history.about(event)
    text = " ".join(_shown(kept).split())
    if not exchange.messages or not text:
        return None
    is_long = len(text) > _CHARS_MAX
    return _Change(
        seq=kept.seq,
        author=author_of(kept),
        prompt=prompt_key(exchange.messages),
        text=text,
        prompt_words=frozenset(word.lower() for word in _words(asked(exchange.messages)[-_CHARS_MAX:])),
        reply=(text,) if is_long else _words(text),
        rejected=frozenset(_words(exchange.reply or "")) if _was_captured(kept, exchange, history) else None,
    )


def _words(text: str) -> list[str]:
    """Words and signs in order; names_like_this and namesLikeThis are several words, as in the prompt."""
    return _TOKENS.findall(_HUMPS.sub(" ", text))


def _was_captured(kept: KeptEvent, exchange: Exchange, history: History) -> bool:
    """Whether the gateway captured the rejected reply as the agent's answer to this prompt."""
    interaction = history.interactions.get(kept.event.interaction or "")
    return (
        interaction is not None
        and interaction.agent == kept.event.agent
        and reply_text(said_by(interaction)) == exchange.reply
        and is_same_prompt(exchange.messages, interaction.messages)
    )


def _shown(kept: KeptEvent) -> str:
    if kept.event.kind is not Kind.TAKEOVER:
        return reply_text(kept.event.data["corrected"])
    turns = kept.event.data.get("turns") or ()
    return "\n".join(reply_text(turn) for turn in turns if turn.get("role") == "assistant")


def _approvers_of(
    approvals: Iterable[KeptEvent], history: History
) -> Mapping[tuple[tuple[str, ...], str], frozenset[str]]:
    """The people who approved each reply, by prompt and reply."""
    approvers: dict[tuple[tuple[str, ...], str], set[str]] = defaultdict(set)
    for kept in approvals:
        exchange = history.about(kept.event)
        if exchange.messages and exchange.reply:
            approvers[prompt_key(exchange.messages), " ".join(exchange.reply.split())].add(author_of(kept))
    return {key: frozenset(authors) for key, authors in approvers.items()}


def _each_once(events: Iterable[KeptEvent]) -> list[KeptEvent]:
    return [kept for _, kept in sorted({kept.seq: kept for kept in events}.items())]
