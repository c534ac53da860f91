"""The paths that are passed on to replicas, with their forms.

vLLM's other paths that name a model stay closed: `/v1/audio/…` take files, which no bound here can read;
`/v1/score`, `/v1/rerank` and `/classify` belong to models that no adapter is trained for; `/v1/responses/ID`
needs the replica that has the response; rendering and tokenising make no answer; others steer the server.
"""

from collections.abc import Mapping

from serving.gateway.forms.answer_form import AnswerForm
from serving.gateway.forms.anthropic_messages import MessagesForm, TokenCountForm
from serving.gateway.forms.chat import ChatForm, TextForm
from serving.gateway.forms.embeddings import EmbeddingsForm
from serving.gateway.forms.responses import ResponsesForm

FORMS: Mapping[str, AnswerForm] = {
    form.path: form
    for form in (
        ChatForm(),
        TextForm(),
        ResponsesForm(),
        MessagesForm(),
        TokenCountForm(),
        EmbeddingsForm(),
    )
}
"""The form of each path."""
