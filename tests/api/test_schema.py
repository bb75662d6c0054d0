"""The OpenAPI schema: every route says what it is for, and shows examples that are true."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.routing import APIRoute
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter

from tests.api.fakes import ScriptedAssistant, app_with, client_of

APP = app_with(ScriptedAssistant())
SCHEMA = APP.openapi()
ROUTES = [route for route in APP.routes if isinstance(route, APIRoute) and route.include_in_schema]
OPERATIONS = [
    (f"{method.upper()} {path}", operation)
    for path, item in SCHEMA["paths"].items()
    for method, operation in item.items()
]


def check(example: Any, schema: dict[str, Any]) -> None:
    Draft202012Validator({**schema, "components": SCHEMA["components"]}).validate(example)


def component(schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref", "")
    return SCHEMA["components"]["schemas"][reference.rpartition("/")[2]] if reference else schema


def examples_of(media: dict[str, Any]) -> list[Any]:
    named = [one["value"] for one in media.get("examples", {}).values()]
    return [media["example"]] if "example" in media else named or component(media["schema"]).get("examples", [])


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_every_route_has_a_summary_and_a_description_of_its_own(route: APIRoute) -> None:
    assert route.summary, "give the route a summary; FastAPI's own is the function's name"
    assert len(route.description) > len(route.summary)


@pytest.mark.parametrize(("name", "operation"), OPERATIONS, ids=[name for name, _ in OPERATIONS])
def test_every_request_and_answer_has_an_example_that_fits(name: str, operation: dict[str, Any]) -> None:
    bodies = operation.get("requestBody", {}).get("content", {})
    answers = [
        (kind, media) for status in operation["responses"].values() for kind, media in status.get("content", {}).items()
    ]
    assert answers
    for kind, media in [*bodies.items(), *answers]:
        assert examples_of(media), f"{name}: {kind} has no example"
        for example in examples_of(media):
            check(example, media["schema"])
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            assert parameter.get("examples") or parameter["schema"].get("examples"), f"{name}: {parameter['name']}"


@pytest.mark.parametrize("route", [route for route in ROUTES if route.response_model], ids=lambda route: route.path)
def test_an_answers_example_is_one_of_its_model(route: APIRoute) -> None:
    for method in route.methods:
        media = SCHEMA["paths"][route.path][method.lower()]["responses"]["200"]["content"]["application/json"]
        TypeAdapter(route.response_model).validate_python(media["example"])


@pytest.mark.parametrize("name", [n for n, schema in SCHEMA["components"]["schemas"].items() if "examples" in schema])
def test_a_models_examples_fit_it(name: str) -> None:
    schema = SCHEMA["components"]["schemas"][name]
    for example in schema["examples"]:
        check(example, {key: value for key, value in schema.items() if key != "examples"})


ANSWERED = [(name, one) for name, one in OPERATIONS if not {"admin", "feedback"} & set(one["tags"])]
"""Those whose examples need nothing to have happened before: of the others, test_admin and test_feedback speak."""


@pytest.mark.parametrize(("name", "operation"), ANSWERED, ids=[name for name, _ in ANSWERED])
async def test_an_example_sent_is_answered_by_what_the_schema_says(name: str, operation: dict[str, Any]) -> None:
    method, _, path = name.partition(" ")
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", str(parameter["schema"]["examples"][0]))
    async with client_of(app_with(ScriptedAssistant())) as client:
        answer = await client.request(method, path, json=examples_of(body)[0] if body else None)
    assert answer.status_code == 200, answer.text
    kind = answer.headers["content-type"].partition(";")[0]
    if kind == "application/json":
        check(answer.json(), operation["responses"]["200"]["content"][kind]["schema"])
