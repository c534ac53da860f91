"""The gateway's OpenAPI document (https://spec.openapis.org/oas/v3.1.0), published at /openapi.json.

It names every path, the headers that are clorad's own, and the form of every error. What a request may
hold beside that is OpenAI's and vLLM's matter; the fields that pass are in `request_fields`.
"""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from feedback.wire import TYPES
from serving.gateway.edge.errors import is_anthropic
from serving.gateway.edge.request_fields import (
    ALLOWED,
    CHAT,
    EMBEDDINGS,
    MESSAGES,
    RESPONSES,
    TEXT,
    TOKENS,
)

FEEDBACK, OPENAPI = "/v1/feedback", "/openapi.json"

_SCHEMAS = "#/components/schemas/"
_TEXT = {"type": "string"}
_OBJECT = {"type": "object"}
_ASKED: Mapping[str, tuple[str, str, str]] = {
    CHAT: ("chat", "Answers a conversation. The model is an agent.", "messages"),
    TEXT: ("complete", "Continues a text. The model is an agent.", "prompt"),
    RESPONSES: ("respond", "Answers as OpenAI's Responses API. The model is an agent.", "input"),
    MESSAGES: ("message", "Answers as Anthropic's Messages API. The model is an agent.", "messages"),
    TOKENS: ("count_tokens", "Counts the tokens of a request to /v1/messages.", "messages"),
    EMBEDDINGS: ("embed", "Texts as vectors, where the replicas' model has any.", "input"),
}
_INPUTS: Mapping[str, Any] = {
    "messages": {"type": "array", "items": _OBJECT},
    "prompt": {},
    "input": {},
}


def openapi_document() -> dict[str, Any]:
    """The whole document."""
    paths: dict[str, Any] = {path: {"post": _generation(path)} for path in _ASKED}
    paths[FEEDBACK] = {"post": _feedback()}
    paths["/v1/models"] = {"get": _read("models", "The agents, as models.")}
    paths["/v1/models/{model}"] = {
        "get": _read("model", "One agent."),
        "parameters": [{"name": "model", "in": "path", "required": True, "schema": _TEXT}],
    }
    paths["/routing"] = {"get": _read("routing", "The versions and replicas in use.")}
    paths["/healthz"] = {"get": _read("alive", "Whether the gateway answers.")}
    paths["/readyz"] = {"get": _read("ready", "Whether a replica could answer. 503: not now.", ready=True)}
    paths[OPENAPI] = {"get": _read("openapi", "This document.")}
    return {
        "openapi": "3.1.0",
        "info": {"title": "clorad gateway", "version": version("clorad")},
        "paths": paths,
        "components": {
            "schemas": {
                **_event_schemas(),
                "Error": _error(),
                "AnthropicError": _anthropic_error(),
                "Readiness": _readiness(),
            }
        },
    }


def _generation(path: str) -> dict[str, Any]:
    name, summary, asked = _ASKED[path]
    stamps = {
        "x-clorad-agent": "the agent that answered",
        "x-clorad-version": "the version that answered",
        "x-clorad-interaction": "the id under which feedback may name this answer",
        "x-clorad-dropped": "names of fields that were not passed on",
    }
    properties: dict[str, Any] = {field: {} for field in sorted(ALLOWED[path])}
    properties |= {
        "model": {**_TEXT, "description": "an agent"},
        asked: _INPUTS[asked],
    }
    if "stream" in ALLOWED[path]:
        properties["stream"] = {"type": ["boolean", "null"]}
    schema = {"type": "object", "required": ["model", asked], "properties": properties}
    answers = {"application/json": {"schema": _OBJECT}, "text/event-stream": {"schema": _TEXT}}
    return {
        "operationId": name,
        "summary": summary,
        "parameters": [
            _header("x-clorad-conversation", "keeps a conversation with one version while a canary runs"),
            _header("x-clorad-capture", "`off`: this interaction is not captured"),
            _header("x-clorad-turn", "which turn of the conversation this is"),
        ],
        "requestBody": _body({"application/json": {"schema": schema}}),
        "responses": {
            "200": {
                "description": "the answer, whole or as server-sent events",
                "headers": {
                    header: {"description": text, "schema": _TEXT} for header, text in stamps.items()
                },
                "content": answers,
            },
            **_errors(path),
        },
    }


def _feedback() -> dict[str, Any]:
    types = [name for name in TYPES if name != "clorad.interaction.v1"]
    event = {
        "type": "object",
        "required": ["type", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {**_TEXT, "minLength": 1, "maxLength": 200},
            "source": {**_TEXT, "minLength": 1, "maxLength": 200},
            "type": {"enum": types},
            "time": {**_TEXT, "format": "date-time"},
            "data": {"anyOf": [{"$ref": _SCHEMAS + name} for name in types]},
        },
    }
    data = {"anyOf": [{"$ref": _SCHEMAS + name} for name in types]}
    return {
        "operationId": "feedback",
        "summary": "Takes one CloudEvent; answers once Kafka has it. Attributes may come as ce- headers.",
        "requestBody": _body(
            {
                "application/cloudevents+json": {"schema": event},
                "application/json": {"schema": {"anyOf": [event, data]}},
            }
        ),
        "responses": {
            "202": {
                "description": "Kafka has the event",
                "content": {"application/json": {"schema": _OBJECT}},
            },
            **_errors(),
        },
    }


def _read(name: str, summary: str, *, ready: bool = False) -> dict[str, Any]:
    schema = {"$ref": f"{_SCHEMAS}Readiness"} if ready else _OBJECT
    answers = {"200": {"description": summary, "content": {"application/json": {"schema": schema}}}}
    if ready:
        answers["503"] = {**answers["200"], "description": "not ready"}
    return {"operationId": name, "summary": summary, "responses": {**answers, **_errors()}}


def _errors(path: str = "") -> dict[str, Any]:
    whose, name = ("Anthropic", "AnthropicError") if is_anthropic(path) else ("OpenAI", "Error")
    schema = {"$ref": _SCHEMAS + name}
    return {
        "default": {
            "description": f"an error in {whose}'s form",
            "headers": {"x-request-id": {"schema": _TEXT}},
            "content": {"application/json": {"schema": schema}},
        }
    }


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": content}


def _header(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": description, "schema": _TEXT}


def _error() -> dict[str, Any]:
    or_null = {"type": ["string", "null"]}
    fields = {
        "message": _TEXT,
        "type": _TEXT,
        "param": or_null,
        "code": {"type": ["string", "integer", "null"]},
    }
    error = {"type": "object", "required": ["message", "type"], "properties": fields}
    return {"type": "object", "required": ["error"], "properties": {"error": error}}


def _anthropic_error() -> dict[str, Any]:
    fields = {"type": {"const": "error"}, "error": {"type": "object", "required": ["type", "message"]}}
    return {"type": "object", "required": ["type", "error"], "properties": fields}


def _readiness() -> dict[str, Any]:
    fields = {"ready": {"type": "boolean"}, "why": _TEXT}
    return {"type": "object", "required": ["ready", "why"], "properties": fields}


def _event_schemas() -> dict[str, Any]:
    schemas: dict[str, Any] = {}
    for name, model in TYPES.items():
        schema = model.model_json_schema(ref_template=_SCHEMAS + "{model}")
        schemas |= schema.pop("$defs", {})
        schemas[name] = schema
    return schemas
