"""Errors as clients see them: problem details for HTTP APIs (RFC 9457)."""

from __future__ import annotations

import errno
from http import HTTPStatus

from pydantic import BaseModel, Field
from starlette.responses import Response

from avmm.plugin import AvmmError, LifecycleError, NotThere, OperationRefused

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """Why a request was not carried out (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int = Field(ge=400, le=599)
    detail: str
    """One line."""


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """The response that says so."""
    return Response(describe(status, detail).model_dump_json(), status, headers, MEDIA_TYPE)


def describe(status: int, detail: str) -> Problem:
    """A problem of an HTTP status; `detail` becomes one line."""
    return Problem(title=HTTPStatus(status).phrase, status=status, detail=" ".join(detail.split()))


def status_of(error: AvmmError | ValueError) -> int:
    """The status of what went wrong."""
    match error:
        case LifecycleError():
            return HTTPStatus.CONFLICT
        case NotThere():
            return HTTPStatus.NOT_FOUND
        case OperationRefused(errno=errno.ENXIO):
            return HTTPStatus.NOT_FOUND
        case OperationRefused(errno=errno.EINVAL | errno.EFAULT):
            return HTTPStatus.UNPROCESSABLE_ENTITY
        case OperationRefused():
            return HTTPStatus.CONFLICT
        case ValueError():
            return HTTPStatus.UNPROCESSABLE_ENTITY
        case _:
            return HTTPStatus.INTERNAL_SERVER_ERROR
