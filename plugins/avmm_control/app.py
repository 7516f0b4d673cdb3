"""The ASGI application: the routes, the errors, the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute

from avmm.plugin import AvmmError
from avmm_control.hub import Hub
from avmm_control.models import Health
from avmm_control.problem import MEDIA_TYPE, Problem, problem, status_of
from avmm_control.routes import memory, streams, vcpus, vms
from avmm_control.routes.common import TheHub

FurtherRoutes = Callable[[Hub], Sequence[BaseRoute]]
"""Makes routes that a server has beside the API's (a page, say)."""


def create_app(hub: Hub, further: FurtherRoutes | None = None) -> FastAPI:
    """The API for the VMs of `hub`."""
    app = FastAPI(
        title="avmm control API",
        version=_version(),
        summary="Running virtual machines, listed, inspected and steered.",
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.hub = hub
    for module in (vms, vcpus, memory, streams):
        app.include_router(module.router)
    app.add_api_route("/healthz", _healthz, tags=["Server"], summary="The server answers")
    for kind in (AvmmError, ValueError):
        app.add_exception_handler(kind, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_failure)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    if further is not None:
        app.router.routes.extend(further(hub))
    return app


async def _healthz(hub: TheHub) -> Health:
    """That the server answers, and how many VMs it has."""
    return Health(vms=len(hub))


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, AvmmError | ValueError)
    return problem(status_of(error), str(error))


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    said = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()]
    return problem(422, "; ".join(said)[:1000])


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, str(error.detail), dict(error.headers or {}))


async def _on_failure(request: Request, error: Exception) -> Response:
    """Not expected by anybody: the guard writes it to the log."""
    return problem(500, "the request failed; the log says why")


def _openapi(app: FastAPI) -> dict[str, object]:
    """The OpenAPI 3.1 document: FastAPI's, with the errors and the token as they are here."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, openapi_version="3.1.0", summary=app.summary, routes=app.routes
        )
        components = document.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        schemas["Problem"] = Problem.model_json_schema()
        components["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "description": "On TCP; a Unix socket needs none."}
        }
        document["security"] = [{"token": []}, {}]
        content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
                operation["responses"]["4XX"] = {"description": "Not carried out, and why", "content": content}
        app.openapi_schema = document
    return app.openapi_schema


def _version() -> str:
    try:
        return version("avmm")
    except PackageNotFoundError:
        return "unknown"
