"""The settings under `[notify]`: which webhooks tell people that one of them is needed."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, StringConstraints

from daemon import setting_checks
from daemon.setting_group import SettingGroup
from ledger.notices.kinds import NoticeKind

ReceiverName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,40}$")]
RECEIVERS_MAX = 8


class ReceiverSettings(SettingGroup):
    """One webhook."""

    url: Annotated[SecretStr, AfterValidator(setting_checks.secret_url)]
    """Where messages are posted. It counts as a secret: whoever knows the URL of a chat can write there."""
    secret: Annotated[SecretStr, AfterValidator(setting_checks.notice_secret)]
    """What signs messages (Standard Webhooks): base64 of 24 to 64 bytes, `whsec_` may stand before it."""
    kinds: frozenset[NoticeKind] = frozenset(NoticeKind)
    """Which notices it gets."""
    form: Literal["standard", "text"] = "standard"
    """`standard`: what, why, command and link in fields of their own. `text`: {"text": …}, for chats."""


class NotifySettings(SettingGroup):
    """When people are told, and how often."""

    receivers: dict[ReceiverName, ReceiverSettings] = Field(
        default_factory=dict, repr=False, max_length=RECEIVERS_MAX
    )
    """The webhooks, by a name of your own. None: nobody is told."""
    interval_s: float = Field(default=60.0, ge=0)
    """Seconds between two messages to one receiver at least; what happens meanwhile goes into the next."""
    timeout_s: float = Field(default=5.0, gt=0, le=30)
    """Seconds that one try may take, from the name's look-up to the status of the answer."""
    give_up_s: float = Field(default=259_200.0, gt=0)
    """Seconds after which a message that nobody took is given up: a receiver may be away for a weekend."""
    abstentions: int = Field(default=3, ge=1)
    """Versions of one agent in a row that the gate could not judge, at which people are told."""
    dead_letters: int = Field(default=100, ge=0)
    """Dead letters that were not sent again, above which people are told."""
    without_evidence_s: float = Field(default=259_200.0, gt=0)
    """Seconds that an agent has had feedback and lacks what it is judged by, after which people are told."""
