"""The documentation: the page loads offline, and the document says what the code does."""

from __future__ import annotations

import re
from urllib.parse import urljoin

import orjson
import pytest
from jsonschema import Draft202012Validator

from proxy.core.answers import Told, failed, problem, refused
from proxy.core.model import Kind, Outcome
from proxy.core.outcome import Row
from tests.web.conftest import Open
from tests.web.document import DOCUMENT, ask, check
from tests.web.rig import TIMEOUT, FakeClock, Rig

METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
OPERATIONS = [
    (path, method, operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method in METHODS
]


@pytest.mark.parametrize("path", ["/api-docs", "/api-docs/"])
async def test_the_page_loads_all_it_refers_to(clock: FakeClock, serve: Open, path: str) -> None:
    client = await serve(Rig(clock))
    response, _ = await ask(client, "GET", path)
    page = await response.text()
    references = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(references) == 4
    types = {".css": "text/css", ".js": "text/javascript", ".png": "image/png"}
    for reference in references:
        asset, _ = await ask(client, "GET", urljoin(path, reference))
        assert (asset.status, asset.content_type) == (200, types["." + reference.rpartition(".")[2]])
        assert len(await asset.read()) > 100
    assert not re.search(r"https?://", page)


async def test_the_page_shows_our_document(clock: FakeClock, serve: Open) -> None:
    client = await serve(Rig(clock))
    start, _ = await ask(client, "GET", "/api-docs/start.js")
    assert 'new URL("openapi.json", document.currentScript.src)' in await start.text()
    response, body = await ask(client, "GET", "/api-docs/openapi.json")
    assert response.content_type == "application/json"
    assert body == DOCUMENT
    assert body["openapi"].startswith("3.1.")


@pytest.mark.parametrize(
    "name",
    [
        "swagger-initializer.js",
        "index.html",
        "..%2f__init__.py",
        "%2e%2e%2fpyproject.toml",
        "..%5c__init__.py",
        "swagger-ui.css%00.png",
        "%2fetc%2fpasswd",
    ],
)
async def test_nothing_else_is_served(clock: FakeClock, serve: Open, name: str) -> None:
    client = await serve(Rig(clock))
    url = client.make_url("/").with_path(f"/api-docs/{name}", encoded=True)
    response = await client.session.get(url)
    assert response.status == 404
    assert response.content_type == "application/problem+json"


async def test_routes_and_document_are_the_same(clock: FakeClock) -> None:
    router = Rig(clock).app().router
    running = {
        (route.resource.canonical, route.method.lower())
        for route in router.routes()
        if route.resource is not None and route.method not in {"*", "HEAD"}
    }
    described = {(path, method) for path, method, operation in OPERATIONS if operation["tags"] != ["payments"]}
    assert running == described


def test_payment_paths_are_the_configured_routes() -> None:
    described = {path for path, _, operation in OPERATIONS if operation["tags"] == ["payments"]}
    assert described == {"/api/payment", "/api/payment/{rest}"}


def test_the_document_is_openapi_3_1() -> None:
    assert re.fullmatch(r"3\.1\.\d", DOCUMENT["openapi"])
    assert DOCUMENT["info"]["title"]
    assert DOCUMENT["info"]["version"] == "9.8.7"
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(names)) == len(names) == len(OPERATIONS)
    assert {tag for _, _, operation in OPERATIONS for tag in operation["tags"]} == {
        tag["name"] for tag in DOCUMENT["tags"]
    }


@pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS, ids=lambda value: value or None)
def test_each_operation_is_complete(path: str, method: str, operation: dict[str, object]) -> None:
    responses = operation["responses"]
    assert isinstance(responses, dict)
    assert responses
    for status, response in responses.items():
        assert re.fullmatch(r"[1-5]\d\d|default", status)
        assert response["description"]
        assert response["content"]
    parameters = [*DOCUMENT["paths"][path].get("parameters", []), *operation.get("parameters", [])]  # type: ignore[misc]
    assert {one["name"] for one in parameters if one["in"] == "path"} == set(re.findall(r"\{(\w+)\}", path))
    assert all(one["required"] is (one["in"] == "path") and "schema" in one for one in parameters)


def test_schemas_are_valid_and_every_reference_leads_somewhere() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    references = set(re.findall(r"'\$ref': '([^']+)'", str(DOCUMENT)))
    assert references
    assert references <= {f"#/components/schemas/{name}" for name in schemas}


def test_no_schema_says_what_swagger_ui_4_cannot_show() -> None:
    assert "'type': [" not in str(DOCUMENT)


def test_secured_operations_name_a_scheme_that_exists() -> None:
    secured = {path for path, _, operation in OPERATIONS if "security" in operation}
    assert secured == {f"/api/breakers/{{upstream}}/{action}" for action in ("open", "close", "auto")}
    for _, _, operation in OPERATIONS:
        for requirement in operation.get("security", []):
            assert set(requirement) <= set(DOCUMENT["components"]["securitySchemes"])


@pytest.mark.parametrize(
    ("outcome", "kind", "row"),
    [(Outcome.NOT_SENT, Kind.UNKEYED, Row.CONNECT_FAILED), (Outcome.UNKNOWN, Kind.UNKEYED, Row.TIMEOUT)],
)
def test_our_payment_problems_are_as_described(outcome: Outcome, kind: Kind, row: Row) -> None:
    answers = [
        problem(404, "destination_not_found", "No route.", Told("r", 0, Outcome.NOT_SENT)),
        refused(3.2, 60, "Open.", Told("r", 0, Outcome.NOT_SENT)),
        failed(TIMEOUT, row, kind, 424, Told("r", 1, outcome)),
    ]
    responses = DOCUMENT["paths"]["/api/payment"]["post"]["responses"]
    for answer in answers:
        assert isinstance(answer.body, bytes)
        described = responses[str(answer.status)]
        check(described["content"]["application/problem+json"]["schema"], orjson.loads(answer.body))
        assert {name.decode() for name, _ in answer.headers} <= {
            *described["headers"],
            "Content-Type",
            "Stripe-Should-Retry",
        }
