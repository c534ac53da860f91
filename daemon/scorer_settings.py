"""The settings under `[scorers.NAME]`: servers that score answers for the gate."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from daemon import setting_checks
from daemon.setting_group import SettingGroup


class ScorerSettings(SettingGroup):
    """One server; agents name it as their scorer."""

    kind: Literal["http", "judge"]
    """`http`: a verifier of your own, which returns numbers. `judge`: a model that compares two answers."""
    conversations: bool = False
    """Whether a verifier judges whole conversations: what was captured after the prompt is replayed."""
    url: Annotated[str, AfterValidator(setting_checks.server_url)] = Field(repr=False)
    """Where it listens; of a judge what comes before /chat/completions, as in https://host/v1."""
    secret: Annotated[SecretStr, AfterValidator(setting_checks.header_secret)] | None = None
    """Key of the server. None: it needs none."""
    header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,100}$")] = "authorization"
    """Header that carries the key; in `authorization` it is a bearer token."""
    model: str | None = Field(default=None, min_length=1)
    """The judge's model, as its server names it."""
    prompt: Path | None = None
    """File with other instructions for the judge than serving/scoring/judge_prompt.txt."""
    requests_max: int = Field(default=512, ge=2)
    """Requests to the judge for one candidate: bounds the cost. Each prompt takes two or more."""

    @model_validator(mode="after")
    def _judges_have_models(self) -> Self:
        if (self.kind == "judge") != (self.model is not None):
            raise ValueError("a judge needs `model`, an http verifier has none")
        if self.conversations and self.kind == "judge":
            raise ValueError("conversations are for an http verifier")
        if self.prompt is not None and not self.prompt.is_file():
            raise ValueError("prompt: no such file")
        return self

    def headers(self) -> dict[str, str]:
        """The header with the key, if there is one."""
        if self.secret is None:
            return {}
        key = self.secret.get_secret_value()
        return {self.header: f"Bearer {key}" if self.header.lower() == "authorization" else key}
