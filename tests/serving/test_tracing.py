"""Traces are off unless asked for; they tell route, release and parts, and nothing of the caller."""

import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from features.errors import ConfigurationError
from serving import tracing
from serving.app import create_app
from serving.metrics import Metrics
from serving.request_context import RequestContext
from serving.tracing import open_tracing

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def kept(monkeypatch, running):
    """The spans of the running application, which is told to trace."""
    memory = InMemorySpanExporter()
    opened = open_tracing("http://nowhere", SimpleSpanProcessor(memory))
    monkeypatch.setattr("serving.app.open_tracing", lambda _endpoint: opened)
    running.settings = type(running.settings)(**{**vars(running.settings), "otlp_endpoint": "http://nowhere"})
    return memory.get_finished_spans


def test_request_is_one_trace_with_its_parts_and_what_answered(kept, running):
    headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    answer = running.call("GET", "/v1/customers/c3/churn", headers=headers)
    assert answer.status_code == 200
    spans = {span.name: span for span in kept() if f"{span.context.trace_id:032x}" == TRACE}
    whole = spans.pop("GET /v1/customers/{customer_id:path}/churn")
    assert set(spans) == {"history", "score"}
    assert all(part.parent.span_id == whole.context.span_id for part in spans.values())
    assert whole.attributes["holdfast.release"] == "first"
    assert whole.attributes["holdfast.arm"] == "champion"
    assert whole.attributes["http.response.status_code"] == 200


def test_span_names_no_customer_and_no_address(kept, running):
    running.call("GET", "/v1/customers/ann@example.org/churn?key=hk_secret", headers={"x-request-id": "ann@b.org"})
    told = " ".join(span.to_json() for span in kept())
    assert "GET /v1/customers/{customer_id:path}/churn" in told
    assert "ann@" not in told
    assert "hk_secret" not in told


def test_missing_packages_are_named_when_an_endpoint_is_set(monkeypatch):
    monkeypatch.setitem(sys.modules, tracing.EXPORTER, None)
    with pytest.raises(ConfigurationError, match=r"pip install 'holdfast\[tracing\]'"):
        open_tracing("http://collector:4318")


def test_spans_reach_a_collector_before_the_service_ends(monkeypatch):
    got = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words):
            """Say nothing."""

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        opened = open_tracing(f"http://127.0.0.1:{server.server_port}/")
        opened.begin({"headers": []}).end({"method": "GET"}, RequestContext("0" * 32, "r-1", "champion"), 200)
        opened.close()
        server.shutdown()
    ((path, sent),) = got
    assert path == "/v1/traces"
    assert b"r-1" in sent


def test_without_an_endpoint_nothing_is_opened(monkeypatch, running):
    def refused(_endpoint):
        raise AssertionError

    monkeypatch.setattr("serving.app.open_tracing", refused)
    assert running.call("GET", "/livez").status_code == 200
    assert create_app(lambda: running.settings, running.open, Metrics(), new_id=running.new_id) is not None
