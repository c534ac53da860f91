"""Records what a real Arize Phoenix answers about annotated spans. Run by hand; it needs nothing installed:

PHOENIX_HOST=127.0.0.1 PHOENIX_PORT=16006 phoenix serve
python tests/unit/feedback/bridges/tools/record_phoenix.py http://127.0.0.1:16006
"""

import json
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

MESSAGES = {
    "llm.input_messages.0.message.role": "user",
    "llm.input_messages.0.message.content": "cancel order 1042",
    "llm.output_messages.0.message.role": "assistant",
    "llm.output_messages.0.message.content": "refund(1042)",
    "input.value": '{"messages": [{"role": "user", "content": "cancel order 1042"}]}',
    "input.mime_type": "application/json",
    "output.value": "refund(1042)",
    "output.mime_type": "text/plain",
}
NAMED = {"metadata": '{"clorad.interaction": "i-1", "clorad.agent": "billing"}'}


def asked(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"content-type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def span(number: int, attributes: dict[str, str]) -> dict[str, Any]:
    return {
        "name": "answer",
        "context": {"trace_id": f"{number:032x}", "span_id": f"{number:016x}"},
        "span_kind": "LLM",
        "start_time": "2026-11-30T12:00:00Z",
        "end_time": "2026-11-30T12:00:01Z",
        "status_code": "OK",
        "attributes": attributes,
    }


def annotation(number: int, name: str, **result: Any) -> dict[str, Any]:
    return {
        "span_id": f"{number:016x}",
        "name": name,
        "annotator_kind": "HUMAN",
        "result": result,
        "identifier": "review-1",
        "metadata": {"author": "ann"},
    }


def main(url: str) -> None:
    project = f"{url}/v1/projects/default"
    asked(f"{project}/spans", {"data": [span(1, MESSAGES | NAMED), span(2, MESSAGES)]})
    while len(asked(f"{project}/spans?limit=100")["data"]) < 2:
        time.sleep(1)
    said = [
        annotation(1, "thumb", label="bad", score=0.0, explanation="cancelling is not refunding"),
        annotation(2, "correction", label=None, score=None, explanation="cancel(1042)"),
        annotation(1, "judge", score=1.0) | {"annotator_kind": "LLM"},
    ]
    asked(f"{url}/v1/span_annotations?sync=true", {"data": said})
    ids = urllib.parse.urlencode([("span_ids", f"{number:016x}") for number in (1, 2)])
    recorded = {
        "version": urllib.request.urlopen(f"{url}/arize_phoenix_version").read().decode(),
        "spans": asked(f"{project}/spans?limit=100"),
        "annotations": asked(f"{project}/span_annotations?limit=100&{ids}"),
    }
    target = Path(__file__).parent / "recorded" / "phoenix.json"
    target.write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
