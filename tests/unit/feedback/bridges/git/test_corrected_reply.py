"""How a reply is corrected by what people changed in the lines that the agent committed."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.bridges.git.corrected_reply import CommittedFile, NotRendered, render, share_kept
from feedback.bridges.git.line_edits import line_edits, lines_of, touches

OLD = "import os\n\n\ndef keep():\n    pass\n"
SAID = 'import os\n\n\ndef save(text):\n    open("a","w").write(text)\n\n\ndef keep():\n    pass\n'
NOW = SAID.replace('open("a","w").write(text)', 'Path("a").write_text(text)')
CODE = 'def save(text):\n    open("a","w").write(text)\n'
CORRECTED = 'def save(text):\n    Path("a").write_text(text)\n'
DIFF = (
    "--- a/store.py\n+++ b/store.py\n@@ -1,3 +1,7 @@\n import os\n \n \n"
    '+def save(text):\n+    open("a","w").write(text)\n+\n+\n def keep():\n'
)


def build_file(before: str, said: str, now: str, path: str = "store.py") -> CommittedFile:
    """The file with all edits by people that touch what the commit wrote."""
    lines = lines_of(said)
    written = line_edits(lines_of(before), lines)
    edits = [
        edit for edit in line_edits(lines, lines_of(now)) if any(touches(edit, added) for added in written)
    ]
    return CommittedFile(
        path=path,
        lines=tuple(lines),
        added=tuple(range(added.at, added.at + len(added.lines)) for added in written),
        edits=tuple(edits),
    )


def build_call(name: str, **arguments: Any) -> dict[str, Any]:
    call = {"id": "c1", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def arguments_of(reply: Any) -> dict[str, Any]:
    parsed = json.loads(reply["tool_calls"][0]["function"]["arguments"])
    assert isinstance(parsed, dict)
    return parsed


def test_a_fenced_block_gets_the_edit_and_the_words_around_it_stay() -> None:
    reply = f"Here it is:\n\n```python\n{CODE}```\n\nIt writes the file."
    rendered = render(reply, [build_file(OLD, SAID, NOW)])
    assert rendered.reply == f"Here it is:\n\n```python\n{CORRECTED}```\n\nIt writes the file."
    assert rendered.is_changed


def test_a_reply_that_is_nothing_but_code_gets_the_edit() -> None:
    assert render(CODE, [build_file(OLD, SAID, NOW)]).reply == CORRECTED


def test_a_unified_diff_gets_the_edit_in_its_hunk() -> None:
    rendered = render(DIFF, [build_file(OLD, SAID, NOW)])
    assert rendered.reply == DIFF.replace('open("a","w").write(text)', 'Path("a").write_text(text)')


def test_numbers_in_the_headers_of_a_diff_follow_the_edit() -> None:
    now = SAID.replace('    open("a","w").write(text)\n', '    path = Path("a")\n    path.write_text(text)\n')
    later = "@@ -9,1 +13,2 @@\n zeta\n+eta\n"
    rendered = render(DIFF + later, [build_file(OLD, SAID, now)])
    assert "@@ -1,3 +1,8 @@" in rendered.reply
    assert "@@ -9,1 +14,2 @@" in rendered.reply


@pytest.mark.parametrize(
    ("name", "field", "extra"),
    [
        ("write_file", "content", {}),
        ("str_replace_based_edit_tool", "file_text", {"command": "create"}),
    ],
)
def test_a_call_that_writes_a_file_gets_the_edit(name: str, field: str, extra: dict[str, str]) -> None:
    reply = build_call(name, path="/srv/store.py", **{field: SAID}, **extra)
    rendered = render(reply, [build_file(OLD, SAID, NOW)])
    assert arguments_of(rendered.reply) == {"path": "/srv/store.py", field: NOW, **extra}


def test_a_call_that_replaces_a_text_gets_the_edit_also_within_a_line() -> None:
    said = "total = price * 2 + tax\n"
    reply = build_call("str_replace", path="sum.py", old_str="price", new_str="price * 2")
    rendered = render(
        reply, [build_file("total = price + tax\n", said, "total = price * 3 + tax\n", "sum.py")]
    )
    assert arguments_of(rendered.reply)["new_str"] == "price * 3"
    assert arguments_of(rendered.reply)["old_str"] == "price"


def test_a_call_that_applies_a_patch_gets_the_edit() -> None:
    patch = (
        "*** Begin Patch\n*** Update File: store.py\n@@\n \n \n"
        '+def save(text):\n+    open("a","w").write(text)\n+\n+\n def keep():\n*** End Patch\n'
    )
    rendered = render(build_call("apply_patch", input=patch), [build_file(OLD, SAID, NOW)])
    assert arguments_of(rendered.reply)["input"] == patch.replace(
        'open("a","w").write(text)', 'Path("a").write_text(text)'
    )


def test_several_edits_of_one_call_are_each_corrected() -> None:
    edits = [{"old_string": "", "new_string": CODE}, {"old_string": "x", "new_string": "never in the file"}]
    rendered = render(
        build_call("multi_edit", file_path="store.py", edits=edits), [build_file(OLD, SAID, NOW)]
    )
    assert [edit["new_string"] for edit in arguments_of(rendered.reply)["edits"]] == [
        CORRECTED,
        "never in the file",
    ]


def test_a_search_and_replace_block_is_corrected_in_its_second_half() -> None:
    block = "store.py\n```\n<<<<<<< SEARCH\nimport os\n=======\n{}>>>>>>> REPLACE\n```\n"
    rendered = render(block.format(CODE), [build_file(OLD, SAID, NOW)])
    assert rendered.reply == block.format(CORRECTED)


def test_what_a_formatter_does_changes_no_reply() -> None:
    now = SAID.replace("    open(", "\topen( ").replace('"a","w"', '"a", "w"')
    rendered = render(CODE, [build_file(OLD, SAID, now)])
    assert (rendered.reply, rendered.is_changed) == (CODE, False)


def test_a_reply_whose_lines_are_not_in_the_commit_is_not_rendered() -> None:
    with pytest.raises(NotRendered, match="no passage"):
        render("I moved the function.", [build_file(OLD, SAID, NOW)])


def test_an_edit_beyond_the_passage_is_not_cut_in_two() -> None:
    now = SAID.replace('    open("a","w").write(text)\n\n\ndef keep():\n    pass\n', "    keep(text)\n")
    with pytest.raises(NotRendered, match="partly"):
        render(CODE, [build_file(OLD, SAID, now)])


def test_a_passage_in_two_places_is_not_rendered() -> None:
    twice = f"{CODE}\n\n{CODE}"
    with pytest.raises(NotRendered, match="several places"):
        render(f"```\n{CODE}```", [build_file("", twice, twice)])


def test_a_call_that_names_its_file_is_looked_up_there_only() -> None:
    files = [build_file(OLD, SAID, NOW, "a.py"), build_file(OLD, SAID, SAID, "b.py")]
    rendered = render(build_call("edit", path="/repo/a.py", old_str="", new_str=CODE), files)
    assert arguments_of(rendered.reply)["new_str"] == CORRECTED


def test_a_reply_of_which_nothing_is_left_is_not_rendered() -> None:
    with pytest.raises(NotRendered, match="nothing is left"):
        render(CODE, [build_file(OLD, SAID, OLD)])


def test_the_share_kept_counts_lines_with_text() -> None:
    assert share_kept([build_file(OLD, SAID, NOW)]) == 0.5
    assert share_kept([build_file(OLD, OLD, OLD)]) is None


NUMBERS = st.lists(st.integers(0, 99), min_size=1, max_size=6, unique=True)
EXAMPLES_MAX = 40


def forms_of(lines: Sequence[str]) -> list[Any]:
    """One code in each form that an agent may give it."""
    code = "\n".join(lines)
    body = "\n".join(f"+{line}" for line in lines)
    return [
        f"Look:\n```\n{code}\n```\nDone.",
        build_call("write_file", path="new.py", content=code),
        f"--- /dev/null\n+++ b/new.py\n@@ -0,0 +1,{len(lines)} @@\n{body}\n",
        build_call("apply_patch", patch=f"*** Begin Patch\n*** Add File: new.py\n{body}\n*** End Patch"),
    ]


@settings(max_examples=EXAMPLES_MAX, deadline=None)
@given(numbers=NUMBERS)
def test_a_reply_is_the_same_where_nobody_changed_a_line(numbers: list[int]) -> None:
    lines = [f"    x = {number}" for number in numbers]
    said = "\n".join(lines)
    for reply in forms_of(lines):
        rendered = render(reply, [build_file("", said, said, "new.py")])
        assert (rendered.reply, rendered.is_changed) == (reply, False)


@settings(max_examples=EXAMPLES_MAX, deadline=None)
@given(numbers=NUMBERS, changed=st.integers(0, 5), new_numbers=NUMBERS)
def test_every_change_in_the_lines_is_in_the_corrected_reply(
    numbers: list[int], changed: int, new_numbers: list[int]
) -> None:
    lines = [f"    x = {number}" for number in numbers]
    place = changed % len(lines)
    new = [f"    y = {number}" for number in new_numbers]
    now = [*lines[:place], *new, *lines[place + 1 :]]
    for reply, wanted in zip(forms_of(lines), forms_of(now), strict=True):
        rendered = render(reply, [build_file("", "\n".join(lines), "\n".join(now), "new.py")])
        assert rendered.is_changed
        assert rendered.reply == wanted
        whole = rendered.reply if isinstance(rendered.reply, str) else str(arguments_of(rendered.reply))
        assert all(line in whole for line in new)
