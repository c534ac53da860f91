"""Reads what a replica's answers depend on beside the weights: vLLM's version and the chat template.

No path of vLLM shows the template, so it is known by what it makes of a few messages.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.fleet.replica import Replica

_TURNS = ({"role": "user", "content": "ask"}, {"role": "assistant", "content": "reply"})
_SYSTEM = {"role": "system", "content": "rules"}
_TOOL = {"type": "function", "function": {"name": "act", "parameters": {"type": "object", "properties": {}}}}
RENDERED: tuple[Mapping[str, Any], ...] = (
    {"messages": [*_TURNS, _TURNS[0]]},
    {"messages": [_SYSTEM, _TURNS[0]]},
    {"messages": [_TURNS[0]], "tools": [_TOOL]},
)
"""Requests that show a chat template: a conversation, a system prompt, a tool."""

# Some templates write the present day: it is no change of the template.
_CHANGES_BY_DAY = re.compile(
    r"\d+|(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*|(Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaBuild:
    """What a replica's answers depend on beside the weights. Empty where the replica does not say it."""

    version: str  # of vLLM
    template: str  # a hash of how it renders fixed messages; dates and numbers in it do not count

    def server(self, image: str) -> str:
        """The server's version, and the name of its image if there is one."""
        return " ".join(filter(None, (self.version, image)))


def read_build(replica: Replica) -> ReplicaBuild:
    """The replica's version and chat template. Raises `ReplicaUnavailable`."""
    version = replica.optional("GET", "/version").get("version")
    rendered = [_rendered(replica, request) for request in RENDERED]
    template = hashlib.sha256("\0".join(rendered).encode()).hexdigest()[:12] if any(rendered) else ""
    return ReplicaBuild(version=str(version or "")[:40], template=template)


def _rendered(replica: Replica, request: Mapping[str, Any]) -> str:
    """How the chat template renders the request; empty if it refuses it."""
    answer = replica.optional("POST", "/tokenize", {**request, "return_token_strs": True})
    tokens = answer.get("token_strs") or answer.get("tokens") or ()
    return _CHANGES_BY_DAY.sub("0", "".join(map(str, tokens)))
