"""What webhooks of GitHub and GitLab tell: payloads after their documentation, cut to what is read."""

from typing import Any

import pytest

from feedback.bridges.git.webhooks import (
    BranchUpdate,
    PayloadRefused,
    branch_update,
    check_github,
    check_gitlab,
)
from feedback.bridges.webhook_secrets import WebhookRefused

TIP, MERGED, SQUASHED = "a" * 40, "b" * 40, "c" * 40


def github_merge(**changed: Any) -> dict[str, Any]:
    request = {
        "number": 7,
        "state": "closed",
        "merged": True,
        "merge_commit_sha": MERGED,
        "head": {"ref": "topic", "sha": TIP},
        "base": {"ref": "main", "sha": "d" * 40},
        "merged_by": {"login": "bob"},
    }
    return {
        "action": "closed",
        "number": 7,
        "pull_request": request | changed,
        "repository": {"id": 1, "full_name": "team/shop", "default_branch": "main"},
        "sender": {"login": "bob"},
    }


def gitlab_merge(**changed: Any) -> dict[str, Any]:
    attributes = {
        "iid": 7,
        "state": "merged",
        "action": "merge",
        "source_branch": "topic",
        "target_branch": "main",
        "last_commit": {"id": TIP, "message": "change"},
        "merge_commit_sha": MERGED,
        "squash_commit_sha": None,
    }
    return {
        "object_kind": "merge_request",
        "event_type": "merge_request",
        "project": {"id": 1, "path_with_namespace": "team/shop"},
        "object_attributes": attributes | changed,
    }


def push(**changed: Any) -> dict[str, Any]:
    pushed = {"ref": "refs/heads/main", "before": "0" * 40, "after": TIP, "commits": []}
    return {**pushed, "repository": {"full_name": "team/shop"}, **changed}


@pytest.mark.parametrize("payload", [github_merge(), gitlab_merge()])
def test_a_merge_tells_what_the_merged_tip_became(payload: dict[str, Any]) -> None:
    assert branch_update(payload) == BranchUpdate(repository="team/shop", branch="main", merges={TIP: MERGED})


def test_a_squash_without_a_merge_commit_tells_its_own_commit() -> None:
    update = branch_update(gitlab_merge(merge_commit_sha=None, squash_commit_sha=SQUASHED))
    assert update is not None
    assert update.merges == {TIP: SQUASHED}


def test_a_fast_forward_tells_the_branch() -> None:
    update = branch_update(gitlab_merge(merge_commit_sha=None))
    assert update == BranchUpdate(repository="team/shop", branch="main")


@pytest.mark.parametrize(
    "payload",
    [
        push(),
        push(repository=None, project={"path_with_namespace": "team/shop"}, object_kind="push"),
    ],
)
def test_a_push_tells_the_branch(payload: dict[str, Any]) -> None:
    assert branch_update(payload) == BranchUpdate(repository="team/shop", branch="main")


@pytest.mark.parametrize(
    "payload",
    [
        {"zen": "Keep it logically awesome.", "hook_id": 1, "repository": {"full_name": "team/shop"}},
        github_merge(merged=False),
        github_merge() | {"action": "opened"},
        gitlab_merge(action="open"),
        push(ref="refs/tags/v1"),
        push(after="0" * 40),
        {},
    ],
)
def test_other_webhooks_tell_nothing(payload: dict[str, Any]) -> None:
    assert branch_update(payload) is None


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        (github_merge(merge_commit_sha="--output=x"), "merge_commit_sha: not a commit's id"),
        (github_merge(head="topic"), "head: not an object"),
        (github_merge() | {"repository": {"full_name": 7}}, "full_name: not a name"),
        (gitlab_merge(last_commit={"id": None}), "id: not a commit's id"),
        (push(ref=None), "ref: not a name"),
    ],
)
def test_a_payload_of_another_form_is_refused_by_its_field(payload: dict[str, Any], complaint: str) -> None:
    with pytest.raises(PayloadRefused, match=complaint):
        branch_update(payload)


GITHUB_BODY, GITHUB_SECRET = b"Hello, World!", "It's a Secret to Everybody"
GITHUB_SIGNATURE = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
"""The values with which GitHub documents how to test an implementation."""


def test_a_signature_of_github_is_verified() -> None:
    headers = {"x-hub-signature-256": GITHUB_SIGNATURE}
    check_github(headers, GITHUB_BODY, GITHUB_SECRET)
    for wrong in (
        (headers, GITHUB_BODY + b" ", GITHUB_SECRET),
        (headers, GITHUB_BODY, "another"),
        ({"x-hub-signature-256": GITHUB_SIGNATURE.removeprefix("sha256=")}, GITHUB_BODY, GITHUB_SECRET),
        ({"x-hub-signature-256": "sha256=ü"}, GITHUB_BODY, GITHUB_SECRET),
        ({}, GITHUB_BODY, GITHUB_SECRET),
    ):
        with pytest.raises(WebhookRefused, match="x-hub-signature-256"):
            check_github(*wrong)


def test_the_token_of_gitlab_is_verified() -> None:
    check_gitlab({"x-gitlab-token": "s3cret-token"}, b"{}", "s3cret-token")
    for headers in ({}, {"x-gitlab-token": ""}, {"x-gitlab-token": "s3cret-tokem"}):
        with pytest.raises(WebhookRefused, match="x-gitlab-token"):
            check_gitlab(headers, b"{}", "s3cret-token")
