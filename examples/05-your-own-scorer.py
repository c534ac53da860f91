"""A scorer of your own: a policy check for a support agent, which may promise no money that nobody wanted.

`python examples/05-your-own-scorer.py` scores three answers; with `--port 8099` it is a server that the gate
asks, where `clorad.toml` has:

    [scorers.policy]
    kind = "http"
    url = "http://127.0.0.1:8099/score"

`score` may also be a function of a package that is installed beside clorad, in whose `pyproject.toml`
`[project.entry-points."clorad.scorers"]` has `policy = "your_package:score"`. Either way an agent takes it by
`scorer = "policy"`.
"""

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_AMOUNT = re.compile(r"\d+(?:\.\d+)?(?= ?(?:euros?|€))")


def score(messages: Sequence[Mapping[str, Any]], wanted: Any, answers: Sequence[Any]) -> list[float]:
    """1 for an answer that promises the wanted amounts, ½ if it leaves some out, 0 if it promises others."""
    del messages  # a policy may also depend on the conversation
    allowed = set(_AMOUNT.findall(str(wanted)))
    promised = [set(_AMOUNT.findall(str(answer))) for answer in answers]
    return [0.0 if amounts - allowed else 1.0 if amounts == allowed else 0.5 for amounts in promised]


class ScoreHandler(BaseHTTPRequestHandler):
    """Answers `POST /score` with the scores."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        scores = score(asked["messages"], asked["wanted"], asked["answers"])
        content = json.dumps({"scores": scores}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Log nothing: requests have what people wrote."""


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--port", type=int, help="serve on this port of loopback")
    if port := options.parse_args().port:
        ThreadingHTTPServer(("127.0.0.1", port), ScoreHandler).serve_forever()
    said = ["You get 20 euros.", "Soon.", "You get 20 euros and 5 € more."]
    for points, answer in zip(score([], "We pay 20 euros.", said), said, strict=True):
        print(f"{points:.1f}  {answer}")
