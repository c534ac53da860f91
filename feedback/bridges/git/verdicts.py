"""Decides what a state of the branch says about an agent's reply: a correction, an approval, a number.

Pure functions. `feedback.bridges.git.scan` finds the states, `feedback.bridges.git.git_events` says them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from feedback.bridges.git.attribution import AttributedEdits
from feedback.bridges.git.commits import Commit, People
from feedback.bridges.git.corrected_reply import NotRendered, render, share_kept
from feedback.bridges.git.reply_passages import Reply


class Said(StrEnum):
    """What a state of the branch says about a reply."""

    CORRECTED = "correction"
    APPROVED = "approval"
    SHARE = "outcome"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchVerdict:
    """What one state of the branch says about one reply, by whom."""

    said: Said
    email: str = ""  # of the person; empty where nothing is said
    corrected: Reply | None = None
    value: float | None = None  # of an outcome: 1 where all lines were kept, -1 where none was
    reason: str = ""  # why there is no correction or approval


def judge(
    edits: AttributedEdits,
    reply: Reply | None,
    *,
    keepers: Sequence[str],
    is_over: bool,
) -> BranchVerdict:
    """What the state says. `reply` is None where it was not captured.

    `keepers` are the people, by e-mail, who may be said to have kept what nobody changed, the likeliest
    first. `is_over`: it was merged by somebody, or has stayed long enough.
    """
    share = share_kept(edits.files)
    if share is None:
        return BranchVerdict(said=Said.NOTHING, reason="the commit wrote no lines that are looked at")
    changers = sorted(edits.lines_by_email, key=lambda email: (-edits.lines_by_email[email], email))
    if not changers and edits.others:
        return BranchVerdict(said=Said.NOTHING, reason="the agent, a bot or nobody known changed its lines")
    email = next(iter((*changers, *keepers)), "")
    if not changers and not is_over:
        return BranchVerdict(said=Said.NOTHING, reason="nobody has changed its lines yet")
    if not email:
        return BranchVerdict(said=Said.NOTHING, reason="no person merged it")
    value = round(2.0 * share - 1.0, 4)
    if reply is None:
        return BranchVerdict(
            said=Said.SHARE, email=email, value=value, reason="the interaction was not captured"
        )
    try:
        rendered = render(reply, edits.files)
    except NotRendered as why:
        return BranchVerdict(said=Said.SHARE, email=email, value=value, reason=str(why))
    if rendered.is_changed:
        return BranchVerdict(said=Said.CORRECTED, email=email, corrected=rendered.reply)
    if changers:
        reason = "people changed other lines of the commit than the reply's"
        return BranchVerdict(said=Said.NOTHING, reason=reason)
    return BranchVerdict(said=Said.APPROVED, email=email)


def keepers(merged: Commit, written: Commit, people: People) -> list[str]:
    """People who may be said to have kept the lines: who merged them, else who committed them."""
    emails = (merged.author, merged.committer, written.committer, written.author)
    return [email for email in emails if people.is_person(email)]
