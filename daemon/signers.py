"""Turns the settings of signers into keys: those intake believes, and the one `clorad send` signs with."""

import base64

from daemon.feedback_settings import FeedbackSettings, SignerSettings
from feedback.signing import (
    Algorithm,
    Signers,
    SigningKey,
    TrustedSigner,
    public_key_of,
    speaks_for,
    trusted_gateway,
)
from ledger.identity import Identity


def trusted_signers(settings: FeedbackSettings, identity: Identity) -> Signers:
    """The signers of the settings, and the gateways of this ledger."""
    configured = [_trusted(key_id, signer) for key_id, signer in settings.signers.items()]
    return Signers([trusted_gateway(identity), *configured])


def sending_key(settings: FeedbackSettings) -> SigningKey | None:
    """The key of `feedback.sign_as`; None where nothing is to be signed."""
    if settings.sign_as is None:
        return None
    signer = settings.signers[settings.sign_as]
    return SigningKey(id=settings.sign_as, algorithm=Algorithm(signer.algorithm), secret=_secret(signer))


def why_not_believed(settings: FeedbackSettings, source: str) -> str | None:
    """Why intake would refuse what `feedback.sign_as` signs under this source; None: it would not."""
    name = settings.sign_as
    if name is None or speaks_for(settings.signers[name].sources, source):
        return None
    return f"feedback.signers.{name}.sources: needs {source}, else intake refuses what it signs under it"


def _trusted(key_id: str, signer: SignerSettings) -> TrustedSigner:
    algorithm = Algorithm(signer.algorithm)
    if signer.public_key is not None:
        key = base64.b64decode(signer.public_key)
    else:
        key = public_key_of(_secret(signer)) if algorithm is Algorithm.ED25519 else _secret(signer)
    return TrustedSigner(
        id=key_id, algorithm=algorithm, key=key, sources=signer.sources, rights=frozenset(signer.rights)
    )


def _secret(signer: SignerSettings) -> bytes:
    assert signer.secret is not None, "settings are checked"
    return base64.b64decode(signer.secret.get_secret_value())
