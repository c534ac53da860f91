"""Builds small git repositories with an agent's and people's commits."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

AGENT, ANN, BOB, BOT = (
    "agent@bots.example",
    "ann@example.org",
    "bob@example.org",
    "ci[bot]@users.noreply.github.com",
)
START_S = 1_700_000_000
DAY_S = 86_400


class BuiltRepository:
    """A repository whose commits have the times that the test gives them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.git("init", "-q", "-b", "main", str(path))
        self.commit({"README": "read me\n"}, by=ANN, day=0)

    def git(self, *arguments: str, by: str = ANN, day: float = 0, committer: str | None = None) -> str:
        """Run git in the repository, and return what it prints."""
        when = f"{int(START_S + day * DAY_S)} +0000"
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.path),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": by,
            "GIT_AUTHOR_EMAIL": by,
            "GIT_COMMITTER_NAME": committer or by,
            "GIT_COMMITTER_EMAIL": committer or by,
            "GIT_AUTHOR_DATE": when,
            "GIT_COMMITTER_DATE": when,
        }
        folder = self.path if self.path.exists() else self.path.parent
        done = subprocess.run(
            ["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(
        self,
        files: Mapping[str, str | None],
        *,
        by: str,
        day: float,
        interactions: tuple[str, ...] = (),
        message: str = "change",
    ) -> str:
        """Commit these files, None removes one. Returns the commit's id."""
        for name, text in files.items():
            file = self.path / name
            if text is None:
                file.unlink()
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        trailers = "".join(f"\nClorad-Interaction: {interaction}" for interaction in interactions)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", f"{message}\n{trailers}", by=by, day=day)
        return self.head()

    def head(self) -> str:
        """The commit that is checked out."""
        return self.git("rev-parse", "HEAD")

    def branch(self, name: str) -> None:
        """Go on on a new branch."""
        self.git("checkout", "-q", "-b", name)

    def merge(self, name: str, *, by: str, day: float, how: str = "--no-ff") -> str:
        """Merge a branch into main. Returns main's new commit."""
        self.git("checkout", "-q", "main")
        self.git("merge", "-q", how, "-m", f"Merge {name}", name, by=by, day=day)
        return self.head()
