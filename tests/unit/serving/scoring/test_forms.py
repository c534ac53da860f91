"""The form of a wanted answer, which chooses how answers are compared."""

import pytest

from serving.scoring.forms import Block, Form, fenced_blocks, form_of, is_prose

KETTLE = "The kettle comes with two years of guarantee, and you can send it back within thirty days."


@pytest.mark.parametrize(
    ("wanted", "form"),
    [
        ('{"tool": "refund", "order": 7}', Form.JSON),
        ("[1, 2]", Form.JSON),
        ("42", Form.EXACT),
        ("fix: login", Form.EXACT),
        ("fix(auth): refuse empty passwords", Form.EXACT),
        ("", Form.EXACT),
        ("[" * 100_000, Form.EXACT),
        (KETTLE, Form.PROSE),
        (f"{KETTLE}\n```sh\nls -l\n```", Form.MIXED),
        ("```python\nf(x)\n```", Form.MIXED),
        ("def total(rows):\n    return sum(rows)", Form.PYTHON),
        ('Path("rupi.md").write_text(wilbi)', Form.PYTHON),
        ("ls -l | grep rupi", Form.EXACT),
        ("rm -rf", Form.EXACT),
        ("NAME=value", Form.EXACT),
        ("run: build(all)", Form.EXACT),
        ("for (int i = 0; i < n; i++) sum += a[i];", Form.EXACT),
    ],
)
def test_a_wanted_answer_has_one_form(wanted: str, form: Form) -> None:
    assert form_of(wanted) is form


def test_fenced_blocks_are_taken_out_of_the_text() -> None:
    blocks, text = fenced_blocks("Do this:\n```Python title\nf(x)\n```\nor\n~~~\n```\n~~~\nthat.")
    assert blocks == (Block("python", "f(x)\n"), Block("", "```\n"))
    assert text.split() == ["Do", "this:", "or", "that."]
    assert fenced_blocks("```\nnever closed") == ((), "```\nnever closed")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (KETTLE, True),
        ("Es tut uns leid: der Stuhl, den Sie suchen, ist erst ab Montag wieder da.", True),
        ("The capital of France is Paris.", False),
        (" ".join([KETTLE] * 2) + " It costs $20 (taxes included), says shop.example/kettles.", True),
        (
            'def total(rows: list[int]) -> int:\n    """The sum of all the rows."""\n    return sum(rows)',
            False,
        ),
        ("for name in $(ls *.txt); do mv $name ../old/$name.bak && echo moved $name; done", False),
        ('{"text": "eight words of prose in one JSON object here"}', False),
        ("", False),
    ],
)
def test_prose_is_made_of_sentences(text: str, expected: bool) -> None:
    assert is_prose(text) is expected
