"""The turns of a conversation that an event credits, and how much each gets."""

from collections.abc import Sequence

from ledger.events import Event
from rewards.exchange import Exchange, History, is_about_conversation


def credited_turns(history: History, event: Event, exchange: Exchange, *, whole: bool) -> list[Exchange]:
    """The turn that the event is about, and the earlier ones of its conversation if it is `whole`.

    Only turns whose sampled tokens are known. Of an event that names a conversation alone only those of role
    train: its own role is that of the first turn.
    """
    last = [exchange] if exchange.sampled else []
    if not whole:
        return last
    captured = history.creditable_turns(event, exchange)
    if is_about_conversation(event):
        return list(captured.values())
    return last + [turn for number, turn in captured.items() if number < exchange.turn]


def discounts(turns: Sequence[Exchange], exchange: Exchange, *, discount: float) -> list[float]:
    """The factor of each turn: `discount` for each turn between it and the last one, that of `exchange`."""
    last = max(exchange.turn, *(turn.turn for turn in turns))
    return [discount ** (last - turn.turn) for turn in turns]


def surprise_nats(exchange: Exchange) -> float:
    """Mean surprise of a token that was sampled (nats)."""
    assert exchange.sampled is not None, "tokens were sampled"
    return -sum(exchange.sampled.logprobs) / len(exchange.sampled.logprobs)
