"""The API document: every route described, every example true to its schema and to the service."""

import json
import shlex
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.api import openapi
from serving.api.bodies import EventBody
from serving.app import _routes, create_app
from serving.metrics import Metrics
from tests.serving.conftest import Running

DOCUMENT = openapi.document()
UNDESCRIBED = {"/openapi.json", "/docs", "/docs/{asset}", "/"}


def test_every_route_is_described_and_every_description_is_a_route() -> None:
    served = {
        (route.path.replace(":path}", "}"), method.lower())
        for route in _routes()
        for method in (route.methods or set()) - {"HEAD"}
        if route.path not in UNDESCRIBED
    }
    assert served == {(path, method) for path, calls in DOCUMENT["paths"].items() for method in calls}


def test_every_call_has_an_example_and_a_curl_line_that_is_one_command() -> None:
    for calls in DOCUMENT["paths"].values():
        for call in calls.values():
            line = shlex.split(call["x-codeSamples"][0]["source"])
            assert line[0] == "curl"
            if "requestBody" in call:
                example = call["requestBody"]["content"]["application/json"]["example"]
                assert json.loads(line[line.index("-d") + 1]) == example
            assert all("example" in kind for kind in next(iter(call["responses"].values()))["content"].values())


def test_every_call_stands_in_one_of_the_described_groups() -> None:
    groups = [group["name"] for group in DOCUMENT["tags"]]
    assert groups == ["CRM", "Storefront", "Events", "Operations"]
    placed = {
        path: {tag for call in calls.values() for tag in call["tags"]} for path, calls in DOCUMENT["paths"].items()
    }
    assert placed["/v1/churn/score:batch"] == placed["/v1/customers/{customer_id}/churn"] == {"CRM"}
    assert placed["/v1/recommendations"] == placed["/v1/items/{item_id}/similar"] == {"Storefront"}
    assert placed["/v1/events"] == {"Events"}
    assert {path for path, tags in placed.items() if tags == {"Operations"}} == {
        "/v1/releases",
        "/v1/rollouts",
        "/v1/rollouts/served",
        *(f"/v1/rollouts/current:{name}" for name in ("step", "promote", "rollback", "approve", "pause", "resume")),
        "/livez",
        "/readyz",
        "/metrics",
    }


def test_references_lead_somewhere() -> None:
    names = set(DOCUMENT["components"]["schemas"])
    text = json.dumps(DOCUMENT)
    for part in text.split('"#/components/schemas/')[1:]:
        assert part.split('"')[0] in names
    assert "$defs" not in text


def test_every_answer_leads_to_calls_that_there_are_by_names_that_they_have() -> None:
    calls = {call["operationId"]: call for calls in DOCUMENT["paths"].values() for call in calls.values()}
    links = [
        link
        for call in calls.values()
        for good in call["responses"].values()
        for link in good.get("links", {}).values()
    ]
    assert len(links) >= 12
    for link in links:
        call = calls[link["operationId"]]
        assert set(link.get("parameters", ())) <= {one["name"] for one in call["parameters"]}
        if "requestBody" in link:
            name = call["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            assert set(link["requestBody"]) <= set(DOCUMENT["components"]["schemas"][name]["properties"])


def test_a_query_is_described_as_it_is_read() -> None:
    given = {one["name"]: one for one in DOCUMENT["paths"]["/v1/recommendations"]["get"]["parameters"]}
    assert given["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 100}
    assert (given["candidates"]["style"], given["candidates"]["explode"]) == ("form", False)
    assert given["exclude_owned"]["schema"] == {"type": "boolean"}
    served = DOCUMENT["paths"]["/v1/rollouts/served"]["get"]["parameters"]
    assert [one["name"] for one in served if one.get("required")] == ["customer_id"]


def test_the_example_event_is_a_good_event() -> None:
    for event in openapi.examples.EVENTS_BODY["events"]:
        EventBody.model_validate(event)


def shape(value: Any) -> Any:
    """Names of members, all the way down."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value else None


def test_the_examples_have_the_members_that_the_service_answers_with(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> dict[str, Any]:
        return {
            "CHURN": (await client.get("/v1/customers/c20/churn")).json(),
            "RECOMMENDED": (await client.post("/v1/recommendations", json={"customer_id": "c1"})).json(),
            "SIMILAR": (await client.get("/v1/items/apple/similar")).json(),
        }

    for name, answer in running.run(talk).items():
        assert set(shape(answer)) == set(shape(getattr(openapi.examples, name))), name


def test_the_page_needs_no_other_machine(running: Running, tmp_path: Path) -> None:
    for name in ("swagger-ui.css", "swagger-ui-bundle.js"):
        (tmp_path / name).write_text("x")
    swagger = create_app(
        lambda: running.settings, running.open, Metrics(), new_id=running.new_id, swagger_assets=tmp_path
    )
    for app in (running.app, swagger):
        running.app = app
        page = running.call("GET", "/docs").text
        assert "Holdfast" in page
        assert "//" not in page.replace("http://127.0.0.1:3000", "")
    assert running.call("GET", "/docs/swagger-ui.css").text == "x"


def test_metrics_name_endpoints_and_releases_but_no_customer(running: Running) -> None:
    async def talk(client: httpx.AsyncClient) -> str:
        await client.get("/v1/customers/c20/churn")
        return (await client.get("/metrics")).text

    text = running.run(talk)
    assert 'holdfast_requests_total{endpoint="customer_churn",status="200"} 1.0' in text
    assert 'holdfast_predictions_total{arm="champion",kind="churn",release="first"} 1.0' in text
    assert "c20" not in text


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_health_answers(running: Running, path: str) -> None:
    answer = running.call("GET", path)
    assert answer.status_code == 200
    assert path == "/livez" or answer.json()["release"] == "first"
