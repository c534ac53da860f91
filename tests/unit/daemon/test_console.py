"""Words, times and sizes as commands print them."""

from daemon.console import ago, count, harmless, lasting, short


class TestWords:
    def test_times_are_said_in_the_unit_that_fits(self) -> None:
        assert [lasting(s) for s in (-1, 9, 119, 180, 7200, 200_000)] == [
            "0 s",
            "9 s",
            "119 s",
            "3 min",
            "2 h",
            "2 d",
        ]
        assert (ago(None), ago(90.0, 100.0)) == ("–", "10 s ago")
        assert (count(1, "event"), count(1200, "event")) == ("1 event", "1,200 events")

    def test_strangers_texts_cannot_steer_the_terminal(self) -> None:
        assert "\x1b" not in harmless("\x1b[2Jgone\u202e\r") + short("a\x1b]0;title\x07b")
        assert short("one\n two\t three", 9) == "one two …"
