"""A message is written in the form of its receiver, and hides nothing in its text."""

import json

from daemon.notices.messages import trial, written

NOTICE = {
    "kind": "contested",
    "fact": "contested 7",
    "agent": "billing",
    "what": "1 event of <!channel> & co",
    "why": "people disagree",
    "command": "clorad contested settle 'dev#7' --reason '…'",
    "link": "https://clorad.example/review?only=contested",
    "since": "2026-11-30T12:00:00+00:00",
}


def test_the_standard_form_has_each_notice_in_fields() -> None:
    message = written("msg_1", [NOTICE], form="standard", noted_s=0.0)
    assert json.loads(message.body) == {
        "type": "clorad.person.needed",
        "timestamp": "1970-01-01T00:00:00+00:00",
        "data": {"notices": [NOTICE]},
    }


def test_the_form_for_chats_mentions_nobody() -> None:
    text = json.loads(written("msg_1", [NOTICE, NOTICE], form="text", noted_s=0.0).body)
    assert text.keys() == {"text"}
    first, second = text["text"].split("\n\n")
    assert first == second
    assert first.splitlines() == [
        "1 event of &lt;!channel&gt; &amp; co",
        "people disagree",
        "clorad contested settle 'dev#7' --reason '…'",
        "https://clorad.example/review?only=contested",
    ]


def test_a_test_message_says_that_it_is_one() -> None:
    body = json.loads(trial("msg_1", form="standard", now_s=0.0).body)
    assert body["type"] == "clorad.test"
    assert "nothing needs to be done" in body["data"]["notices"][0]["why"]
