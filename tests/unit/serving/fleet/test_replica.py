"""The client of a replica reads no more of an answer than an answer needs."""

import gzip
import json
from collections.abc import Iterator
from contextlib import closing

import pytest

from serving.fleet import replica as client
from serving.fleet.replica import Replica, ReplicaRefused, ReplicaUnavailable
from tests.fakes.vllm import FakeVLLM
from tests.meters import metric_increases, metric_values

ASK = [{"role": "user", "content": "ask"}]


@pytest.fixture
def fake() -> Iterator[FakeVLLM]:
    server = FakeVLLM()
    yield server
    server.kill()


def test_an_answer_that_is_too_large_is_refused_and_the_next_one_is_read(
    fake: FakeVLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "ANSWER_BYTES_MAX", 1 << 20)
    before = metric_values("clorad.fleet.answers.too_large")
    with closing(Replica(fake.url)) as replica:
        choice = {"message": {"role": "assistant", "content": "x" * (2 << 20)}}
        fake.faults.raw_answer = json.dumps({"choices": [choice]}).encode()
        with pytest.raises(ReplicaRefused, match="more than 1 MiB"):
            replica.answer("base", ASK, 16)
        fake.faults.raw_answer = None
        assert replica.answer("base", ASK, 16).text
    assert len([path for path, _ in fake.requests if "chat" in path]) == 2, "it is not asked again"
    assert metric_increases(before, "clorad.fleet.answers.too_large") == {(): 1}


def test_a_packed_answer_is_not_unpacked(fake: FakeVLLM) -> None:
    fake.faults.raw_answer, fake.faults.raw_encoding = gzip.compress(bytes(64 << 20), 1), "gzip"
    with closing(Replica(fake.url)) as replica, pytest.raises(ReplicaUnavailable):
        replica.answer("base", ASK, 16)
