"""The settings under `[bridges]`: other tools in which people give feedback (`clorad bridge run`)."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, model_validator

from daemon import setting_checks
from daemon.setting_group import SettingGroup
from feedback.bridges.names import BAD, GOOD, Use

ToolUrl = Annotated[str, AfterValidator(setting_checks.server_url)]
ToolSecret = Annotated[SecretStr, AfterValidator(setting_checks.header_secret)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
ToolName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,40}$")]
Label = Annotated[str, StringConstraints(min_length=1, to_lower=True)]

CALLING = ("label-studio", "argilla")
"""Tools that call the bridge (webhooks). It asks the others (polls)."""


class ToolSettings(SettingGroup):
    """One tool, or one project in it."""

    kind: Literal["label-studio", "argilla", "langfuse", "phoenix", "mlflow"]
    """Which tool it is."""
    url: ToolUrl | None = Field(default=None, repr=False)
    """Where Langfuse, Phoenix or MLflow listens."""
    user: Name | None = None
    """Langfuse's public key, or the user of a tool behind HTTP's basic authentication."""
    key: ToolSecret | None = None
    """Langfuse's secret key, the user's password, or else a bearer token. None: the tool asks for none."""
    project: Name | None = None
    """Phoenix's project (`default` if not given), or the id of MLflow's experiment (0 if not given)."""
    poll_s: float = Field(default=60.0, ge=1.0)
    """Seconds between two polls: people do not expect an effect sooner."""
    days: float = Field(default=14.0, gt=0, le=365)
    """Days back for which polls read answers, and find annotations that are new or were changed."""
    secret: ToolSecret | None = None
    """What its webhooks prove themselves with: Label Studio sends it in the header `Authorization` (set it
    there), Argilla signs with it (it shows the secret of a webhook when it is created)."""
    agent: Name | None = None
    """The agent that its annotations are about, where their trace names none (`clorad.agent`)."""
    author: Name | None = None
    """Who wrote the annotations that name nobody; without it they cannot be used."""
    people: dict[str, Name] = Field(default_factory=dict)
    """Authors by the tool's name for them (user id, e-mail): one person in two tools counts once."""
    names: dict[str, Use] = Field(default_factory=dict)
    """What the tool's fields, questions and scores of these names hold, besides the usual names; all others
    are opinions. `ignored`: nothing that is feedback."""
    good: frozenset[Label] = GOOD
    """Labels that approve an answer."""
    bad: frozenset[Label] = BAD
    """Labels that reject an answer."""
    score_min: float = 0.0
    """The score that becomes an outcome of -1."""
    score_max: float = 1.0
    """The score that becomes an outcome of 1."""

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        if self.kind in CALLING:
            setting_checks.calling_tool(self.kind, self.secret)
        elif self.url is None:
            raise ValueError(f"{self.kind} needs `url`: the bridge asks it")
        if self.kind == "langfuse" and (self.user is None or self.key is None):
            raise ValueError("langfuse needs `user` (its public key) and `key` (its secret key)")
        if self.score_min >= self.score_max:
            raise ValueError("score_min must be below score_max")
        return self


class BridgeSettings(SettingGroup):
    """The receiver of webhooks, and the tools."""

    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen on for webhooks. Each is refused without its tool's secret or signature."""
    port: int = Field(default=8082, ge=0, le=65535)
    """Port to listen on."""
    path: Annotated[Path, AfterValidator(setting_checks.absolute_path)] = Path("bridges")
    """Directory of the journals: what was sent of each tool. Without them all of it is sent again, and counts
    once."""
    tools: dict[ToolName, ToolSettings] = Field(default_factory=dict, repr=False)
    """The tools by a name of your own, which is part of their events' source: bridge/NAME."""
