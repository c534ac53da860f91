"""The settings under `[git]`: whose commits correct an agent, and until when (`clorad bridge git`)."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, StringConstraints

from daemon import setting_checks
from daemon.setting_group import SettingGroup

Name = Annotated[str, StringConstraints(min_length=1, max_length=300)]
RepositoryName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,40}$")]
Email = Annotated[str, StringConstraints(min_length=3, max_length=254, to_lower=True)]
AuthorName = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class RepositorySettings(SettingGroup):
    """One repository whose webhooks `clorad bridge run` takes."""

    host: Literal["github", "gitlab"]
    """Whose webhooks they are."""
    name: Name
    """The repository's name there: team/shop."""
    path: Annotated[Path, AfterValidator(setting_checks.absolute_path)]
    """A mirror of it on this machine, which is fetched before each scan."""
    secret: Annotated[SecretStr, Field(min_length=8), AfterValidator(setting_checks.header_secret)]
    """The secret of the webhook, as it was given to the host."""
    branch: Name = "main"
    """The branch that people merge into; webhooks about others are ignored."""
    agent: Name | None = None
    """Only this agent's interactions are looked at, and those that were not captured are taken for its."""


class GitSettings(SettingGroup):
    """Whose commits correct an agent, and until when."""

    authors: dict[Email, AuthorName] = Field(default_factory=dict)
    """Authors of feedback by the e-mail of their commits; their events are signed (`feedback.sign_as`).
    Others are named by their e-mail, unsigned: whoever may push can commit under any e-mail."""
    bots: tuple[Email, ...] = ("*[bot]@users.noreply.github.com", "noreply@github.com", "noreply@*")
    """E-mails of bots and coding agents, which are no people; `*` stands for any characters."""
    generated: tuple[str, ...] = (
        *("*.lock", "*-lock.json", "*-lock.yaml", "go.sum", "*.min.*", "*.map", "*.snap", "*.svg"),
        *("*_pb2.py", "*.pb.*", "dist/*", "vendor/*", "*/vendor/*", "*/node_modules/*"),
    )
    """Files that nobody writes by hand, and whose lines correct nobody."""
    days: float = Field(default=14.0, gt=0, le=365)
    """Days after the merge in which changes of the agent's lines correct it; later ones are new work."""
    scan_days: float = Field(default=60.0, gt=0)
    """Days back in which a scan looks for commits of agents: a branch may be open for weeks."""
    repositories: dict[RepositoryName, RepositorySettings] = Field(default_factory=dict, repr=False)
    """Repositories by a name of your own: their webhooks go to /bridges/git/NAME of `clorad bridge run`."""
