"""Commits as the bridge reads them: which interactions of an agent they name, and which are people's own.

An agent's commit names the interaction that its lines come from on a line of its message, as a trailer:
`Clorad-Interaction: ID`, the id that the gateway's answer has in `x-clorad-interaction`. Pure functions.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

_INTERACTION = re.compile(r"^[ \t]*clorad-interaction:[ \t]*([A-Za-z0-9._:~-]{1,120})[ \t]*$", re.I | re.M)
_CO_AUTHOR = re.compile(r"^[ \t]*co-authored-by:[^<\n]*<([^>\n]{1,254})>[ \t]*$", re.I | re.M)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One commit. E-mails are as the commit has them: a mailmap is the repository's, and could lie."""

    id: str
    parents: tuple[str, ...]
    author: str  # e-mail, in lower case
    committer: str  # e-mail, in lower case
    committed_s: int
    message: str

    @property
    def is_merge(self) -> bool:
        """Whether the commit joins branches."""
        return len(self.parents) > 1

    @property
    def interactions(self) -> tuple[str, ...]:
        """The interactions that the message names, in order. A squash has the messages of all its commits."""
        return tuple(dict.fromkeys(_INTERACTION.findall(self.message)))

    @property
    def co_authors(self) -> tuple[str, ...]:
        """E-mails of those who, the message says, wrote it too."""
        return tuple(email.lower() for email in _CO_AUTHOR.findall(self.message))


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """Who gives feedback by a commit."""

    name: str
    is_mapped: bool  # the settings say who this e-mail is; otherwise the name is the e-mail


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Whose commits are a person's."""

    authors: Mapping[str, str]  # names by e-mail in lower case
    bots: Sequence[str]  # e-mails of bots and agents in lower case; `*` stands for any characters

    def wrote(self, commit: Commit) -> bool:
        """Whether people alone wrote the commit: no agent is its author, co-author, or named in it.

        Which lines an agent wrote of a commit with two authors, nobody can tell.
        """
        emails = (commit.author, *commit.co_authors)
        return not commit.interactions and all(self.is_person(email) for email in emails)

    def is_person(self, email: str) -> bool:
        """Whether the e-mail is no agent's or bot's."""
        # Names of bots have brackets, which stand for themselves.
        return bool(email) and not any(fnmatchcase(email, bot.replace("[", "[[]")) for bot in self.bots)

    def author(self, email: str) -> Author:
        """The author that the e-mail stands for."""
        name = self.authors.get(email)
        return Author(name=name or email, is_mapped=name is not None)
