"""Finds what an agent said after a person's reply to the same request: whoever gave the reply read on.

A person corrects a call, the corrected call is run, and the agent goes on. The rule that the person showed
has been followed by then, so what the agent says next is no exception to it. Once a user asks for more, the
rule may apply again: such answers do not count.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from ledger.events import CORRECTING, KeptEvent, Kind
from rewards.episode import Message
from rewards.exchange import History, prompt_key
from rewards.replies import message_of

_Shown = Mapping[int, Mapping[tuple[str, ...], set[int]]]


def continuations(
    answers: Iterable[KeptEvent], feedback: Iterable[KeptEvent], *, history: History
) -> Mapping[int, frozenset[int]]:
    """The answers whose prompt goes on after a person's reply: by `seq`, with the `seq` of that feedback.

    The reply is a corrected one, or all turns of a takeover. The prompt begins with the very prompt that the
    person's reply was given to; the reply follows it, and then agents and tools alone.
    """
    shown = _shown(feedback, history)
    followed = {}
    for answer in answers if shown else ():
        messages = history.about(answer.event).messages
        if seqs := frozenset(_shown_in(messages, shown)):
            followed[answer.seq] = seqs
    return followed


def _shown(feedback: Iterable[KeptEvent], history: History) -> _Shown:
    """The feedback by its prompt with the person's reply, and by how many messages those are."""
    shown: dict[int, dict[tuple[str, ...], set[int]]] = defaultdict(lambda: defaultdict(set))
    for kept in feedback:
        turns = _turns_of(kept)
        messages = history.about(kept.event).messages if turns else ()
        if messages:
            key = prompt_key((*messages, *turns))
            shown[len(key)][key].add(kept.seq)
    return shown


def _shown_in(messages: Sequence[Message], shown: _Shown) -> Iterable[int]:
    since = max(
        (place + 1 for place, message in enumerate(messages) if message.get("role") == "user"), default=0
    )
    lengths = [length for length in shown if since < length < len(messages)]
    key = prompt_key(messages) if lengths else ()
    for length in lengths:
        yield from shown[length].get(key[:length], ())


def _turns_of(kept: KeptEvent) -> tuple[Message, ...]:
    """What a person said and ran in the agent's place, message by message."""
    if kept.event.kind in CORRECTING:
        return (message_of(kept.event.data["corrected"]),)
    return tuple(kept.event.data.get("turns") or ()) if kept.event.kind is Kind.TAKEOVER else ()
