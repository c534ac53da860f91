"""The settings of who is believed: producers that sign, and the trust that an agent demands of its events."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from daemon import setting_checks
from daemon.setting_group import SettingGroup

KeyText = Annotated[str, AfterValidator(setting_checks.key_bytes)]
TrustLevel = Literal["unsigned", "signed"]


class SignerSettings(SettingGroup):
    """A key whose signatures on events are believed. The gateways' own key needs no setting."""

    algorithm: Literal["hmac-sha256", "ed25519"] = "hmac-sha256"
    """How it signs: with a shared secret, or with a private key that only the sender has."""
    secret: SecretStr | None = Field(default=None, repr=False)
    """Base64 of the shared secret (32 bytes or more), or of the Ed25519 seed (32 bytes), to sign with."""
    public_key: KeyText | None = None
    """Base64 of the Ed25519 public key (32 bytes); left out where the seed is given."""
    sources: frozenset[str] = Field(min_length=1)
    """CloudEvents sources that it may speak for; `team-a/*` stands for all that begin with `team-a/`."""
    rights: frozenset[Literal["act", "judge"]] = frozenset()
    """What it may vouch for: `act` on other people's events; `judge`, who alone is enough."""

    @model_validator(mode="after")
    def _has_its_key(self) -> Self:
        setting_checks.signer_keys(self.algorithm, self.secret, self.public_key)
        return self


class FeedbackSettings(SettingGroup):
    """Who is believed to say what on the feedback topic."""

    signers: dict[str, SignerSettings] = Field(default_factory=dict, repr=False)
    """Producers that sign their events, by key id (`cloradsigner`)."""
    unsigned_captures: bool = False
    """Believe interactions and live counts on `clorad.interactions` that no gateway signed: for records of an
    older clorad, whose gateways did not sign, or of a recorder of your own."""
    sign_as: str | None = None
    """Key id, one of `signers` with its secret, with which `clorad send` signs; None: it does not."""

    @model_validator(mode="after")
    def _can_sign(self) -> Self:
        setting_checks.signers(self.signers, self.sign_as)
        return self


class TrustSettings(SettingGroup):
    """The least level of trust at which events may do what they say: `signed`, or anybody's."""

    teach: TrustLevel = "unsigned"
    """Be trained on."""
    judge: TrustLevel = "unsigned"
    """Be held out, to judge candidates by."""
    amend: TrustLevel = "unsigned"
    """Replace or complete an earlier event of the same source and author."""
    retract: TrustLevel = "unsigned"
    """Take back an earlier event of the same source and author."""
