"""What a branch says about the replies of an agent whose commits name their interactions."""

import json
from pathlib import Path
from typing import Any

import pytest

from feedback.bridges.git.commits import People
from feedback.bridges.git.git_events import GitEvent, events_of
from feedback.bridges.git.repository import Repository
from feedback.bridges.git.scan import Scan, ScannedInteraction, ScanRules
from feedback.bridges.git.verdicts import Said
from feedback.sending.event import build_outgoing_event
from tests.unit.feedback.bridges.git.git_builder import AGENT, ANN, BOB, BOT, DAY_S, START_S, BuiltRepository

CODE = 'def save(text):\n    open("a","w").write(text)\n    return len(text)\n'
BETTER = 'def save(text):\n    Path("a").write_text(text)\n    return len(text)\n'
REPLY = f"```python\n{CODE}```"
PEOPLE = People(authors={ANN: "ann"}, bots=(AGENT, "*[bot]@*", "noreply@github.com"))


@pytest.fixture
def built(tmp_path: Path) -> BuiltRepository:
    return BuiltRepository(tmp_path / "repository")


def build_scan(built: BuiltRepository, *, day: float = 100, **rules: Any) -> Scan:
    given = {"people": PEOPLE, "generated": ("*.lock",), "days": 14, "since_days": 100_000, **rules}
    return Scan(Repository(built.path), "main", ScanRules(**given), now_s=START_S + day * DAY_S)


def scanned(built: BuiltRepository, reply: Any = REPLY, **options: Any) -> ScannedInteraction:
    return build_scan(built, **options).of("i1", reply)


def events(built: BuiltRepository, reply: Any = REPLY, **options: Any) -> list[GitEvent]:
    scan = build_scan(built, **options)
    states = scan.of("i1", reply).states
    made = events_of(states, repository=scan.name, agent="coder", interaction="i1", people=PEOPLE)
    for event in made:
        build_outgoing_event(event.kind, event.data, source=event.source, event_id=event.id, at=event.at)
    return made


def build_merged(built: BuiltRepository, *, fix: str | None = BETTER, by: str = ANN) -> None:
    """An agent's commit on a branch, a person's change of it, and the merge by bob on day 3."""
    built.branch("topic")
    built.commit({"store.py": CODE}, by=AGENT, day=1, interactions=("i1",))
    if fix is not None:
        built.commit({"store.py": fix}, by=by, day=2)
    built.merge("topic", by=BOB, day=3)


def test_what_a_person_changes_before_the_merge_is_a_correction(built: BuiltRepository) -> None:
    build_merged(built)
    [event] = events(built)
    assert event.kind == "correction"
    assert event.data["corrected"] == f"```python\n{BETTER}```"
    assert (event.data["author"], event.is_signed) == ("ann", True)
    assert (event.data["interaction"], event.data["agent"]) == ("i1", "coder")


def test_what_stays_until_the_merge_is_approved_by_who_merged_it(built: BuiltRepository) -> None:
    build_merged(built, fix=None)
    [event] = events(built, day=3.5)
    assert (event.kind, event.data["action"]) == ("intervention", "approve")
    assert (event.data["author"], event.is_signed) == (BOB, False)


def test_a_second_scan_gives_the_same_events(built: BuiltRepository) -> None:
    build_merged(built)
    first = events(built, day=4)
    built.commit({"other.py": "x = 1\n"}, by=BOB, day=5)
    assert events(built, day=6) == first


def test_a_change_within_the_days_takes_the_approval_back_and_corrects(built: BuiltRepository) -> None:
    build_merged(built, fix=None)
    [approval] = events(built, day=3.5)
    built.commit({"store.py": BETTER}, by=ANN, day=5)
    retraction, correction = events(built)
    assert retraction.data["target"] == {"source": approval.source, "id": approval.id}
    assert retraction.data["author"] == approval.data["author"]
    assert (correction.kind, correction.data["revision"]) == ("correction", 2)
    assert correction.data["author"] == "ann"


def test_a_later_change_by_the_same_person_is_a_higher_revision(built: BuiltRepository) -> None:
    build_merged(built)
    [first] = events(built, day=4)
    built.commit({"store.py": BETTER.replace('"a"', '"b"')}, by=ANN, day=5)
    [second] = events(built)
    assert second.data["key"] == first.data["key"]
    assert (first.data["revision"], second.data["revision"]) == (1, 2)
    assert '"b"' in second.data["corrected"]


def test_a_change_after_the_days_counts_no_more(built: BuiltRepository) -> None:
    build_merged(built, fix=None)
    built.commit({"store.py": BETTER}, by=ANN, day=40)
    assert [event.kind for event in events(built)] == ["intervention"]


def test_a_push_to_the_branch_is_approved_only_after_the_days(built: BuiltRepository) -> None:
    built.commit({"store.py": CODE}, by=AGENT, day=1, interactions=("i1",))
    built.commit({"other.py": "x = 1\n"}, by=ANN, day=2)
    assert events(built, day=3) == []
    built.git("commit", "-q", "--amend", "-m", "other", by=ANN, day=2)
    assert scanned(built, day=20).states[-1].verdict.reason == "no person merged it"


def test_a_push_by_a_person_is_approved_after_the_days(built: BuiltRepository) -> None:
    built.commit({"store.py": CODE}, by=ANN, day=1, interactions=("i1",))
    assert events(built, day=3) == []
    [event] = events(built, day=20)
    assert event.data["action"] == "approve"


def test_a_change_after_a_push_is_a_correction_at_once(built: BuiltRepository) -> None:
    built.commit({"store.py": CODE}, by=AGENT, day=1, interactions=("i1",))
    built.commit({"store.py": BETTER}, by=ANN, day=2)
    assert [event.kind for event in events(built, day=3)] == ["correction"]


@pytest.mark.parametrize("by", [AGENT, BOT])
def test_changes_by_the_agent_itself_and_by_bots_correct_nothing(built: BuiltRepository, by: str) -> None:
    build_merged(built, by=by)
    assert events(built) == []


def test_a_commit_that_an_agent_wrote_too_is_no_persons(built: BuiltRepository) -> None:
    built.branch("topic")
    built.commit({"store.py": CODE}, by=AGENT, day=1, interactions=("i1",))
    built.commit({"store.py": BETTER}, by=ANN, day=2, message=f"fix\n\nCo-authored-by: A <{AGENT}>")
    built.merge("topic", by=BOB, day=3)
    assert events(built) == []


def test_a_persons_commit_that_names_another_interaction_is_the_agents(built: BuiltRepository) -> None:
    built.branch("topic")
    built.commit({"store.py": CODE}, by=ANN, day=1, interactions=("i1",))
    built.commit({"store.py": BETTER}, by=ANN, day=2, interactions=("i2",))
    built.merge("topic", by=BOB, day=3)
    assert events(built) == []


def test_white_space_is_no_correction(built: BuiltRepository) -> None:
    build_merged(built, fix=CODE.replace("    ", "\t").replace('"a","w"', '"a", "w"') + "\n\n")
    assert [event.kind for event in events(built)] == ["intervention"]


def test_a_commit_on_no_merged_branch_says_nothing_yet(built: BuiltRepository) -> None:
    built.branch("topic")
    built.commit({"store.py": CODE}, by=AGENT, day=1, interactions=("i1",))
    built.git("checkout", "-q", "main")
    assert (scanned(built).states, scanned(built).reason) == ((), "not merged into the branch")


def test_a_revert_is_an_outcome_of_minus_one(built: BuiltRepository) -> None:
    build_merged(built, fix=None)
    built.git("revert", "--no-edit", "-m", "1", "HEAD", by=ANN, day=4)
    retraction, outcome = events(built)
    assert retraction.kind == "retraction"
    assert (outcome.kind, outcome.data["value"], outcome.data["author"]) == ("outcome", -1.0, "ann")


def test_a_reverted_revert_is_an_approval_again(built: BuiltRepository) -> None:
    build_merged(built, fix=None)
    built.git("revert", "--no-edit", "-m", "1", "HEAD", by=ANN, day=4)
    built.git("revert", "--no-edit", "HEAD", by=ANN, day=5)
    assert [event.kind for event in events(built)] == ["retraction", "intervention"]


def test_a_squash_that_names_the_interaction_is_compared_with_the_agents_own_commit(
    built: BuiltRepository,
) -> None:
    built.branch("topic")
    built.commit({"store.py": CODE}, by=AGENT, day=1, interactions=("i1",))
    built.commit({"store.py": BETTER}, by=ANN, day=2)
    built.git("checkout", "-q", "main")
    built.git("merge", "-q", "--squash", "topic")
    message = "Save texts (#7)\n\n* change\n\nClorad-Interaction: i1\n\n* change"
    built.git("commit", "-q", "-m", message, by=BOB, day=3)
    [event] = events(built)
    assert (event.kind, event.data["author"]) == ("correction", "ann")


def test_a_squash_that_names_nothing_is_known_by_a_webhook(built: BuiltRepository) -> None:
    built.branch("topic")
    built.commit({"store.py": CODE}, by=AGENT, day=1, interactions=("i1",))
    tip = built.commit({"store.py": BETTER}, by=ANN, day=2)
    built.git("checkout", "-q", "main")
    built.git("merge", "-q", "--squash", "topic")
    built.git("commit", "-q", "-m", "Save texts", by=BOB, day=3)
    assert events(built) == []
    [event] = events(built, merges={tip: built.head()})
    assert (event.kind, event.data["author"]) == ("correction", "ann")


def test_a_rebased_commit_is_looked_at_where_it_is_on_the_branch(built: BuiltRepository) -> None:
    built.branch("topic")
    built.commit({"store.py": CODE}, by=AGENT, day=1, interactions=("i1",))
    built.commit({"store.py": BETTER}, by=ANN, day=2)
    built.git("tag", "old")
    built.git("checkout", "-q", "main")
    built.commit({"other.py": "x = 1\n"}, by=BOB, day=2)
    built.git("checkout", "-q", "topic")
    built.git("rebase", "-q", "main", by=ANN, day=3)
    built.git("checkout", "-q", "main")
    built.git("merge", "-q", "--ff-only", "topic")
    [event] = events(built)
    assert (event.kind, event.data["author"]) == ("correction", "ann")


def test_a_renamed_file_is_followed(built: BuiltRepository) -> None:
    more = "".join(f"# {number}\n" for number in range(20))
    built.branch("topic")
    built.commit({"store.py": CODE + more}, by=AGENT, day=1, interactions=("i1",))
    built.merge("topic", by=BOB, day=3)
    built.commit({"store.py": None, "files/all.py": BETTER + more}, by=ANN, day=4)
    assert events(built)[-1].data["corrected"] == f"```python\n{BETTER}```"


def test_a_file_that_was_renamed_beyond_recognition_gives_an_outcome(built: BuiltRepository) -> None:
    build_merged(built, fix=None)
    built.commit({"store.py": None, "files.py": BETTER + "# more\n"}, by=ANN, day=4)
    assert (events(built)[-1].kind, events(built)[-1].data["value"]) == ("outcome", -1.0)


def test_lines_that_were_changed_while_merging_are_the_mergers(built: BuiltRepository) -> None:
    built.branch("topic")
    built.commit({"store.py": CODE}, by=AGENT, day=1, interactions=("i1",))
    built.git("checkout", "-q", "main")
    built.git("merge", "-q", "--no-ff", "--no-commit", "topic")
    (built.path / "store.py").write_text(BETTER)
    built.git("add", "-A")
    built.git("commit", "-q", "-m", "Merge topic", by=BOB, day=3)
    [event] = events(built)
    assert (event.kind, event.data["author"]) == ("correction", BOB)


def test_the_person_with_most_changed_lines_is_the_author(built: BuiltRepository) -> None:
    built.branch("topic")
    built.commit({"store.py": CODE}, by=AGENT, day=1, interactions=("i1",))
    built.commit({"store.py": CODE.replace("return len(text)", "return 1")}, by=ANN, day=2)
    both = 'import os\ndef save(text):\n    a = Path("a")\n    a.write_text(text)\n    return 1\n'
    built.commit({"store.py": both}, by=BOB, day=2)
    built.merge("topic", by=ANN, day=3)
    assert events(built)[-1].data["author"] == BOB


def test_without_the_reply_there_is_the_share_of_lines_kept(built: BuiltRepository) -> None:
    build_merged(built)
    [event] = events(built, reply=None)
    assert (event.kind, event.data["value"]) == ("outcome", pytest.approx(1 / 3, abs=1e-3))


def test_a_reply_in_no_known_form_gives_the_share_of_lines_kept(built: BuiltRepository) -> None:
    build_merged(built)
    state = scanned(built, "I wrote it with a shell.").states[-1]
    assert (state.verdict.said, state.verdict.reason[:10]) == (Said.SHARE, "no passage")


def test_each_of_two_interactions_in_one_commit_gets_its_own_edits(built: BuiltRepository) -> None:
    built.branch("topic")
    built.commit(
        {"store.py": CODE, "read.py": "def read():\n    return 1\n"},
        by=AGENT,
        day=1,
        interactions=("i1", "i2"),
    )
    built.commit({"read.py": "def read():\n    return 2\n"}, by=ANN, day=2)
    built.merge("topic", by=BOB, day=3)
    scan = build_scan(built)
    assert scan.interactions == ("i1", "i2")
    assert scan.of("i1", REPLY).states[-1].verdict.said is Said.NOTHING
    corrected = scan.of("i2", "```\ndef read():\n    return 1\n```").states[-1].verdict.corrected
    assert corrected == "```\ndef read():\n    return 2\n```"


def test_generated_files_are_not_looked_at(built: BuiltRepository) -> None:
    built.commit({"a.lock": CODE}, by=AGENT, day=1, interactions=("i1",))
    assert scanned(built).states[-1].verdict.reason == "the commit wrote no lines that are looked at"


def test_a_call_of_an_edit_tool_is_corrected_as_a_call(built: BuiltRepository) -> None:
    built.commit({"store.py": "import os\n\n\n"}, by=ANN, day=0)
    built.branch("topic")
    built.commit({"store.py": f"import os\n\n\n{CODE}"}, by=AGENT, day=1, interactions=("i1",))
    built.commit({"store.py": f"import os\n\n\n{BETTER}"}, by=ANN, day=2)
    built.merge("topic", by=BOB, day=3)
    arguments = {"command": "insert", "path": "/repo/store.py", "insert_line": 3, "new_str": CODE}
    function = {"name": "str_replace_based_edit_tool", "arguments": json.dumps(arguments)}
    reply = {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": function}]}
    [event] = events(built, reply=reply)
    [call] = event.data["corrected"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == arguments | {"new_str": BETTER}


def test_one_scan_runs_few_commands_for_each_interaction(
    built: BuiltRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_merged(built)
    commands: list[str] = []
    run = Repository._git

    def counted(self: Repository, command: str, *arguments: str, stdin: str = "") -> bytes:
        commands.append(command)
        return run(self, command, *arguments, stdin=stdin)

    monkeypatch.setattr(Repository, "_git", counted)
    events(built)
    assert len(commands) <= 20, commands
