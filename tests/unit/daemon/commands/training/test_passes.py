"""`clorad passes`: what learners did."""

import re

import pytest

from tests.unit.daemon.conftest import Clorad

pytestmark = pytest.mark.usefixtures("story")


def test_people_see_passes_failures_and_delays(clorad: Clorad) -> None:
    out = clorad("passes").out
    assert re.search(r"so far +1 +0 +0 +cpu +billing", out), "the turn that runs"
    assert re.search(r"billing +v2-\w{6} +refuse +harm: 4 of 48 prompts became worse", out)
    assert re.search(r"billing +v1-\w{6} +\d+ ", out.rpartition("STORED TO LIVE")[2])


def test_one_agent_is_shown_alone(clorad: Clorad) -> None:
    document = clorad("passes", "--agent", "sql", "--json").json
    assert {turn["agent"] for each in document["passes"] for turn in each["turns"]} == {"sql"}
    assert document["delays"] == []
    assert clorad("passes", "--agent", "coder").out == "no pass was opened yet\n"
