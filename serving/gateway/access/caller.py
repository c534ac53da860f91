"""Who makes a request: a key with its rights, a person whom a trusted proxy names, or somebody unknown."""

from dataclasses import dataclass
from urllib.parse import quote

from ledger.access.rights import Grant, Right
from serving.gateway.edge.errors import RequestRefused

ANYBODY = Grant(name="anybody", rights=frozenset({Right.TALK, Right.FEEDBACK, Right.READ}))
"""What a client without a key may do where access is open."""

_PERSONAL = frozenset({Right.ACT, Right.JUDGE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """One client for the length of one request."""

    grant: Grant = ANYBODY
    key_id: str | None = None  # None: without a key
    author: str | None = None  # of feedback; None: nobody vouches for the author, the event names one

    @property
    def vouched_rights(self) -> frozenset[Right]:
        """The rights of the author. A proxy's key does not lend its own to the people behind the proxy."""
        if self.key_id is None or self.author is None:
            return frozenset()
        return self.grant.rights if self.author == self.grant.name else self.grant.rights - _PERSONAL

    def require(self, right: Right) -> None:
        """Raises `RequestRefused` (403) where the caller's key has not this right."""
        if right not in self.grant.rights:
            text = f"this key has not the right `{right.value}`"
            raise RequestRefused(403, text, "right", code="missing_right")

    def require_agent(self, agent: str) -> None:
        """Raises `RequestRefused` (403) where the key does not open the agent, whether it exists or not."""
        if not self.grant.opens(agent):
            text = "model: this key is not for that agent"
            raise RequestRefused(403, text, "agent_not_allowed", param="model", code="model_not_allowed")

    def source(self, own: str, *, root: str) -> str:
        """The CloudEvents source of the caller's feedback: below `root`, in the author's own part of it.

        `own` is the source that the client names. It stays visible, so that two tools of one author may use
        the same ids. Without an author it is used as it is.
        """
        if self.author is None:
            return own
        mine = f"{root}/{quote(self.author, safe='@')}"
        return mine if own == root else f"{mine}/{quote(own, safe='/:@')}"


ANONYMOUS = Caller()
"""Nobody in particular."""
