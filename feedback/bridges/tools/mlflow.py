"""MLflow's assessments of traces (REST API 3.0 of MLflow 3): feedback, and expectations.

The trace's metadata or tags have the interaction, or the metadata its inputs and outputs. Expectations with
the name of a correction are the wanted answer; the feedback of people is an opinion.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from feedback.bridges.annotation import Annotation, Statement, ToolOptions, opinion_of
from feedback.bridges.polling import PAGES_MAX
from feedback.bridges.tool_client import ToolAway, ToolClient, ToolLacks, list_in
from feedback.bridges.tools.fields import id_in, moment_in, object_in, person_in
from feedback.bridges.traced import about_of, text_in, whole_json

SEARCH = "/api/3.0/mlflow/traces/search"
EXPERIMENT = "0"
"""MLflow's default experiment."""

_PAGE = 100


class MlflowAssessments:
    """The assessments of one experiment's traces. `experiment` is its id."""

    def __init__(self, client: ToolClient, options: ToolOptions, experiment: str = EXPERIMENT) -> None:
        self._client, self._options, self._experiment = client, options, experiment

    def items(self, since: datetime) -> Iterator[Mapping[str, Any]]:
        """Assessments of traces since then, each with its trace. Raises `ToolAway`."""
        location = {
            "type": "MLFLOW_EXPERIMENT",
            "mlflow_experiment": {"experiment_id": self._experiment},
        }
        body: dict[str, Any] = {
            "locations": [location],
            "filter": f"trace.timestamp_ms > {int(since.timestamp() * 1000)}",
            "max_results": _PAGE,
        }
        for _ in range(PAGES_MAX):
            try:
                answer = self._client.post(SEARCH, body)
            except ToolLacks:
                raise ToolAway("no such experiment, or a version of MLflow before 3") from None
            for trace in list_in(answer, "traces") if "traces" in answer else ():
                for assessment in list_in(trace, "assessments") if "assessments" in trace else ():
                    yield {"assessment": assessment, "trace": trace}
            if not answer.get("next_page_token"):
                return
            body["page_token"] = answer["next_page_token"]

    def identity(self, item: Mapping[str, Any]) -> tuple[str, datetime]:
        """The assessment's id, and when it was changed. Raises `AnnotationRefused`."""
        assessment = object_in(item, "assessment")
        return id_in(assessment, "assessment_id"), moment_in(assessment, "last_update_time", "create_time")

    def annotation(self, item: Mapping[str, Any]) -> Annotation:
        """What the assessment says. Raises `AnnotationRefused`."""
        name, revised_at = self.identity(item)
        assessment, trace = object_in(item, "assessment"), object_in(item, "trace")
        metadata = trace.get("trace_metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        source = assessment.get("source")
        return Annotation(
            name=name,
            revised_at=revised_at,
            person=person_in(source.get("source_id")) if isinstance(source, dict) else None,
            about=about_of(
                (metadata, trace.get("tags")),
                # MLflow cuts long ones off; then they are no JSON, and not the texts either.
                asked=whole_json(metadata.get("mlflow.traceInputs")),
                answered=whole_json(metadata.get("mlflow.traceOutputs")),
            ),
            said=said_by(assessment, self._options),
        )


def said_by(assessment: Mapping[str, Any], options: ToolOptions) -> Statement | None:
    """What an assessment says; None where no person said it, it was overridden, or it says nothing that is
    feedback. Raises `AnnotationRefused`."""
    source, name = assessment.get("source"), str(assessment.get("assessment_name"))
    is_human = isinstance(source, dict) and source.get("source_type") == "HUMAN"
    if not is_human or assessment.get("valid") is False:
        return None
    comment = text_in(assessment.get("rationale"))
    expectation, feedback = assessment.get("expectation"), assessment.get("feedback")
    use = options.use_of(name)
    if use == "correction":
        wanted = expectation if isinstance(expectation, dict) else feedback
        text = text_in(wanted.get("value")) if isinstance(wanted, dict) else None
        return None if text is None else Statement(kind="correction", value=text, comment=comment)
    if use != "opinion" or not isinstance(feedback, dict) or feedback.get("value") is None:
        return None
    return opinion_of(feedback["value"], comment, options)
