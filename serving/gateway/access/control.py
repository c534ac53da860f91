"""Lets a request in, or refuses it before its body is read: origin, caller, right, limits of the key."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.types import Scope

from ledger.access.keys import AccessKey
from ledger.access.rights import Right
from serving.gateway.access.authentication import AuthenticationOptions, Authenticator
from serving.gateway.access.caller import Caller
from serving.gateway.access.key_limits import KeyLimits
from serving.gateway.access.origins import OriginRules


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessOptions:
    """What the operator decides about access."""

    authentication: AuthenticationOptions
    rules: OriginRules


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessControl:
    """The rules of one gateway. Belongs to its event loop."""

    rules: OriginRules
    authenticator: Authenticator
    limits: KeyLimits = field(default_factory=KeyLimits)

    @classmethod
    def of(
        cls, options: AccessOptions, keys: Callable[[], Mapping[str, AccessKey] | None]
    ) -> "AccessControl":
        """The rules of a gateway that has read `keys`; None before it has."""
        return cls(rules=options.rules, authenticator=Authenticator(options.authentication, keys))

    def admit(self, scope: Scope, right: Right) -> Caller:
        """Who asks. The request counts against the key's limits until `leave`. Raises `RequestRefused`."""
        headers = Headers(raw=scope["headers"])
        self.rules.check(scope["method"], headers)
        client = scope.get("client")
        caller = self.authenticator.caller(scope["path"], headers, client[0] if client else None)
        caller.require(right)
        if caller.key_id is not None:
            self.limits.enter(caller.key_id, caller.grant)
        return caller

    def leave(self, caller: Caller) -> None:
        """The request that `admit` let in is over."""
        if caller.key_id is not None:
            self.limits.leave(caller.key_id)
