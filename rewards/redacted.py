"""Keeps placeholders such as `[email]` out of what is taught: redaction wrote them, no person said them.

A placeholder in a prompt does no harm: the agent reads it and does not say it.
"""

from collections.abc import Iterable
from dataclasses import replace

from feedback.redaction import placeholders
from rewards.episode import Episode


def without_placeholders(episodes: Iterable[Episode]) -> tuple[Episode, ...]:
    """The episodes that teach no placeholder.

    One whose reply holds a placeholder is left out, unless it says that the reply was bad. A rejected reply
    that holds one is left out of its episode: it is not what the agent said.
    """
    return tuple(
        replace(episode, rejected=None)
        if episode.rejected is not None and placeholders(episode.rejected.text)
        else episode
        for episode in episodes
        if not (_encourages(episode) and placeholders(episode.reply.text))
    )


def reason_of(episodes: Iterable[Episode]) -> str:
    """Why episodes teach nothing of which `without_placeholders` leaves none."""
    taken = sorted({name for episode in episodes for name in placeholders(episode.reply.text)})
    return f"the reply to learn was redacted: {', '.join(taken)}"


def _encourages(episode: Episode) -> bool:
    return episode.advantage is None or episode.advantage > 0.0
