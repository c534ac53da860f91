"""Keeps placeholders such as `[email]` out of what is taught: redaction wrote them, no person said them.

A placeholder in a prompt does no harm: the agent reads it and does not say it.
"""

import json
from collections.abc import Iterable
from dataclasses import replace

from feedback.redaction import placeholders
from rewards.episode import Episode, Weighted


def without_placeholders(episodes: Iterable[Episode]) -> tuple[Episode, ...]:
    """The episodes that teach no placeholder.

    One whose reply holds a placeholder is left out, unless it says that the reply was bad. A rejected reply
    that holds one is left out of its episode: it is not what the agent said.
    """
    return tuple(
        replace(episode, rejected=None)
        if episode.rejected is not None and _placeholders_in(episode.rejected)
        else episode
        for episode in episodes
        if not (_encourages(episode) and _placeholders_in(episode.reply))
    )


def reason_of(episodes: Iterable[Episode]) -> str:
    """Why episodes teach nothing of which `without_placeholders` leaves none."""
    taken = sorted({name for episode in episodes for name in _placeholders_in(episode.reply)})
    return f"the reply to learn was redacted: {', '.join(taken)}"


def _encourages(episode: Episode) -> bool:
    return episode.advantage is None or episode.advantage > 0.0


def _placeholders_in(reply: Weighted) -> frozenset[str]:
    """Placeholders anywhere in the reply, also in the text or the thought beside a call."""
    message = "" if reply.message is None else json.dumps(reply.message, ensure_ascii=False)
    return placeholders(reply.text) | placeholders(message)
