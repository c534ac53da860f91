"""What `clorad why` says of a version's training."""

from daemon.commands.versions import training_line
from engine.measurements import End
from tests.unit.engine.measurements import build_metrics


def test_a_training_says_how_long_it_was_and_what_ended_it() -> None:
    metrics = build_metrics(
        steps=25, ended=End.LEARNED, learned_share=1.0, kept_share=0.996, learning_rate=1.32e-3
    )
    assert training_line(metrics) == (
        "25 steps at a learning rate of 0.0013, until its corrections were learned; "
        "100% of its corrections are learned, 99.6% of its anchors' tokens kept"
    )
    spent = build_metrics(steps=100, ended=End.STEPS, learned_share=0.5, learning_rate=1e-3)
    assert training_line(spent) == (
        "100 steps at a learning rate of 0.001, as many as its recipe allows; "
        "50% of its corrections are learned"
    )


def test_a_training_of_an_older_clorad_says_what_is_known() -> None:
    older = build_metrics(ended=None, learned_share=None, learning_rate=None)
    assert training_line(older) == "3 steps"
    assert training_line(None) == "its manifest cannot be read here"
