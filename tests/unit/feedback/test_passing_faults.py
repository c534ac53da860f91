"""A cluster that cannot answer yet is asked again, for some seconds."""

import pytest
from kafka import errors

from feedback.passing_faults import ask_again


class Answers:
    """Raises these faults one after the other, and then answers."""

    def __init__(self, *faults: errors.KafkaError) -> None:
        self.faults = list(faults)

    def __call__(self) -> str:
        if self.faults:
            raise self.faults.pop(0)
        return "answer"


@pytest.mark.parametrize(
    "passing", [errors.NotLeaderForPartitionError, errors.NotControllerError, errors.LeaderNotAvailableError]
)
def test_a_cluster_that_elects_is_asked_again(passing: type[errors.KafkaError]) -> None:
    assert ask_again(Answers(passing())) == "answer"


def test_asking_again_ends() -> None:
    with pytest.raises(errors.NotLeaderForPartitionError):
        ask_again(Answers(*(errors.NotLeaderForPartitionError() for _ in range(9))), wait_s_max=0.0)


@pytest.mark.parametrize("fault", [errors.KafkaConnectionError, errors.TopicAuthorizationFailedError])
def test_a_silent_broker_and_a_refusal_are_not_asked_again(fault: type[errors.KafkaError]) -> None:
    answers = Answers(fault(), fault())
    with pytest.raises(fault):
        ask_again(answers)
    assert len(answers.faults) == 1
