"""Records what a real MLflow answers about annotated traces. Run by hand, in an environment with `mlflow`:

mlflow server --host 127.0.0.1 --port 15000 --workers 1
python tests/unit/feedback/bridges/tools/record_mlflow.py http://127.0.0.1:15000
"""

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import AssessmentSource

HUMAN = AssessmentSource(source_type="HUMAN", source_id="ann@example.com")
JUDGE = AssessmentSource(source_type="LLM_JUDGE", source_id="gpt-5")
PRIVATE = ("mlflow.source", "mlflow.user")  # where it was recorded, and by whom
ASK = [{"role": "user", "content": "cancel order 1042"}]


def trace_of(tags: dict[str, str]) -> str:
    """A new trace of one question and its answer."""
    with mlflow.start_span("answer", span_type="CHAT_MODEL") as span:
        span.set_inputs({"messages": ASK})
        span.set_outputs({"choices": [{"message": {"role": "assistant", "content": "refund(1042)"}}]})
        mlflow.update_current_trace(metadata=tags)
    return str(span.trace_id)


def asked(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"content-type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def main(url: str) -> None:
    mlflow.set_tracking_uri(url)
    experiment = mlflow.set_experiment("clorad").experiment_id
    named = trace_of({"clorad.interaction": "i-1", "clorad.agent": "billing"})
    bare = trace_of({})
    mlflow.flush_trace_async_logging()
    mlflow.log_feedback(
        trace_id=named, name="thumb", value=False, rationale="cancelling is not refunding", source=HUMAN
    )
    mlflow.log_feedback(trace_id=named, name="quality", value=0.25, source=HUMAN)
    mlflow.log_feedback(trace_id=named, name="judge", value=True, source=JUDGE)
    mlflow.log_expectation(trace_id=named, name="expected_response", value="cancel(1042)", source=HUMAN)
    mlflow.log_expectation(trace_id=bare, name="expected_response", value="cancel(7)", source=HUMAN)
    search = {
        "locations": [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}],
        "max_results": 100,
    }
    answer = asked(f"{url}/api/3.0/mlflow/traces/search", search)
    for trace in answer["traces"]:
        metadata = trace["trace_metadata"]
        trace["trace_metadata"] = {name: metadata[name] for name in metadata if not name.startswith(PRIVATE)}
    recorded = {"version": mlflow.__version__, "search": answer}
    target = Path(__file__).parent / "recorded" / "mlflow.json"
    target.write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
