"""Signs CloudEvents and verifies signatures: HMAC-SHA256 (RFC 2104) or Ed25519 (RFC 8032).

A signature covers id, source, type, time, the extensions that clorad believes, and the data: its bytes, or,
of a JSON value in a structured event, the canonical form (RFC 8785). Intake believes `cloradkey` and
`cloradrights` only where a known signer, which may speak for the event's source, signed them.
"""

import base64
import binascii
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ledger.identity import Identity

KEY = "cloradkey"
"""Extension: id of the API key by which a gateway knew the author."""
RIGHTS = "cloradrights"
"""Extension: the author's rights, joined by commas."""
SIGNER = "cloradsigner"
"""Extension: id of the key that signed."""
SIGNATURE = "cloradsignature"
"""Extension: the signature in base64 (RFC 4648, section 4)."""
EXTENSIONS = (KEY, RIGHTS, SIGNER, SIGNATURE)

GATEWAY = "gateway"
"""Id of the key with which gateways sign. It follows from the ledger's secret and needs no setting."""
GATEWAY_SOURCE = "clorad/gateway"
"""Source of what gateways say themselves: interactions and counts."""
KEY_BYTES_MIN = 32
"""Of a secret for HMAC-SHA256; an Ed25519 seed or public key has exactly as many."""

_LABEL = b"clorad-signature-1"
_ABSENT = b"\xff" * 8


class Algorithm(StrEnum):
    """How a key signs."""

    HMAC_SHA256 = "hmac-sha256"
    ED25519 = "ed25519"


class SignatureRefused(Exception):
    """The signature does not verify, or its key may not say this. The text quotes nothing of the event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedFields:
    """What a signature covers, as it is sent."""

    id: str
    source: str
    type: str
    time: str | None
    key: str | None
    rights: str | None
    form: Literal["bytes", "json"]
    data: Any  # bytes, or a JSON value

    def text(self, algorithm: Algorithm, signer: str) -> bytes:
        """The bytes that are signed: a label, then each field behind its length in 8 bytes (big-endian).

        A field that is not there has the length 2^64 - 1. Raises `SignatureRefused` for a JSON value
        without a canonical form: a whole number beyond 2^53.
        """
        fields = (self.id, self.source, self.type, self.time, self.key, self.rights, self.form)
        parts = [_prefixed(item) for item in (algorithm.value, signer, *fields)]
        data = self.data if self.form == "bytes" else _canonical(self.data)
        return b"".join((_LABEL, *parts, len(data).to_bytes(8), data))


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A key that signs. `secret` is the key of the HMAC, or the seed of the Ed25519 key."""

    id: str
    algorithm: Algorithm
    secret: bytes = field(repr=False)

    def extensions(self, fields: SignedFields) -> dict[str, str]:
        """The extensions to add to the event: who signed, and the signature."""
        text = fields.text(self.algorithm, self.id)
        if self.algorithm is Algorithm.HMAC_SHA256:
            signature = hmac.digest(self.secret, text, "sha256")
        else:
            signature = Ed25519PrivateKey.from_private_bytes(self.secret).sign(text)
        return {SIGNER: self.id, SIGNATURE: base64.b64encode(signature).decode()}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedSigner:
    """A key whose signatures are believed. `key` is the secret of the HMAC, or the public key."""

    id: str
    algorithm: Algorithm
    key: bytes = field(repr=False)
    sources: frozenset[str]  # whole names; a name that ends in `*` stands for all that begin so
    rights: frozenset[str] | None  # that it may vouch for; None: any

    def check(self, fields: SignedFields, signature: bytes) -> None:
        """The signature is this key's, and the key may say what it signed. Raises `SignatureRefused`."""
        text = fields.text(self.algorithm, self.id)
        if not self._signed(text, signature):
            raise SignatureRefused("the signature is not that of id, source, type, time and data")
        if not speaks_for(self.sources, fields.source):
            raise SignatureRefused("its signer may not speak for this source")
        if self.rights is not None and not rights_of(fields.rights) <= self.rights:
            raise SignatureRefused("its signer may not vouch for these rights")

    def _signed(self, text: bytes, signature: bytes) -> bool:
        if self.algorithm is Algorithm.HMAC_SHA256:
            return hmac.compare_digest(hmac.digest(self.key, text, "sha256"), signature)
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(signature, text)
        except InvalidSignature:
            return False
        return True


class Signers:
    """The signers that one installation trusts."""

    def __init__(self, signers: Iterable[TrustedSigner]) -> None:
        self._by_id: Mapping[str, TrustedSigner] = {signer.id: signer for signer in signers}

    def check(self, fields: SignedFields, signer: str | None, signature: str | None) -> bool:
        """Whether the event is signed. Raises `SignatureRefused` where it is, and wrongly."""
        if signer is None and signature is None:
            return False
        if signer is None or signature is None:
            raise SignatureRefused(f"{SIGNER} and {SIGNATURE}: one without the other")
        if signer not in self._by_id:
            raise SignatureRefused("its signer is not known here")
        try:
            raw = base64.b64decode(signature, validate=True)
        except (binascii.Error, ValueError):
            raise SignatureRefused(f"{SIGNATURE}: not base64") from None
        self._by_id[signer].check(fields, raw)
        return True


def gateway_key(identity: Identity) -> SigningKey:
    """The key with which the gateways of one ledger sign."""
    return SigningKey(id=GATEWAY, algorithm=Algorithm.HMAC_SHA256, secret=identity.derived_key(GATEWAY))


def trusted_gateway(identity: Identity) -> TrustedSigner:
    """The gateways of one ledger as signers: for every source and every right."""
    key = gateway_key(identity)
    return TrustedSigner(
        id=key.id, algorithm=key.algorithm, key=key.secret, sources=frozenset("*"), rights=None
    )


def public_key_of(seed: bytes) -> bytes:
    """The public key (32 bytes) of an Ed25519 seed."""
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def speaks_for(patterns: Iterable[str], source: str) -> bool:
    """Whether a signer with these `sources` may speak for an event's source."""
    return any(
        source.startswith(pattern[:-1]) if pattern.endswith("*") else source == pattern
        for pattern in patterns
    )


def rights_of(joined: str | None) -> frozenset[str]:
    """The rights in the extension `cloradrights`."""
    return frozenset(right.strip() for right in (joined or "").split(",") if right.strip())


def _prefixed(item: str | None) -> bytes:
    if item is None:
        return _ABSENT
    raw = item.encode()
    return len(raw).to_bytes(8) + raw


def _canonical(value: Any) -> bytes:
    import rfc8785  # a gateway and most producers send the binary form, which needs none

    try:
        canonical: bytes = rfc8785.dumps(value)
    except rfc8785.CanonicalizationError:
        raise SignatureRefused("its data have no canonical form (RFC 8785)") from None
    return canonical
