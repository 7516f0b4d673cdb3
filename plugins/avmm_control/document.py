"""docs/rest-api.md, from the OpenAPI document: `python -m avmm_control.document > docs/rest-api.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from avmm_control.app import create_app
from avmm_control.hub import Hub

_HEAD = """\
# The control API

What `avmm run --control` serves ([how to](how-to/control.md)). `GET /openapi.json` is the same as an OpenAPI 3.1 document,
which says all types and ranges. Requests and answers are JSON unless the table says otherwise; addresses and values of 64 bits
are texts, decimal or `0x...`.

A request that is not carried out is answered with a problem of one line (RFC 9457, `application/problem+json`):

| status | why |
| --- | --- |
| 400, 422 | the request is malformed, or its values make no sense |
| 405 | there is no such method here |
| 408, 413 | it does not arrive in time, or is too large |
| 401 | the token is missing or wrong |
| 403, 421 | it comes from a page of another origin, or is meant for another host |
| 404 | there is no such VM, vCPU, register, attribute, interrupt input, power button, or memory |
| 409 | the VM's state does not allow it, or the attribute cannot be set (any more) |
| 429 | too many requests, or the guest does not read what is typed; `Retry-After` says when to try again |
| 500 | it failed, and the log says why |

This page is written by `python -m avmm_control.document` from the definitions; a test compares the two.
"""
_METHODS = ("get", "put", "post")


def page() -> str:
    """The whole of docs/rest-api.md."""
    document = create_app(Hub()).openapi()
    tags: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method in (method for method in _METHODS if method in operations):
            operation = operations[method]
            tags.setdefault(operation["tags"][0], []).append(_row(method, path, operation))
    parts = [_HEAD]
    for tag, rows in tags.items():
        parts.append(
            "\n".join((f"## {tag}", "", "| request | what it does | takes | answers |", "| --- | --- | --- | --- |", *rows))
        )
    parts.append(_models(document["components"]["schemas"]))
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _row(method: str, path: str, operation: Mapping[str, Any]) -> str:
    takes = [f"`{one['name']}`" for one in operation.get("parameters", ()) if one["in"] != "path"]
    if "requestBody" in operation:
        takes.append(_content(operation["requestBody"]))
    [(status, answer)] = [(status, answer) for status, answer in operation["responses"].items() if status.startswith("2")]
    answers = f"{status}: {_content(answer)}" if "content" in answer else status
    says = " ".join(operation["description"].split())
    return f"| `{method.upper()} {path}` | {says} | {', '.join(takes)} | {answers} |"


def _content(holder: Mapping[str, Any]) -> str:
    [(media_type, content)] = holder["content"].items()
    return _type(content["schema"]) if media_type == "application/json" else f"`{media_type}`"


def _type(schema: Mapping[str, Any]) -> str:
    """A type in a few words, with a link where it is one of ours."""
    match schema:
        case {"$ref": str(reference)}:
            name = reference.rpartition("/")[2]
            return f"[{name}](#{name.lower()})"
        case {"type": "array", "items": items}:
            return f"list of {_type(items)}"
        case {"additionalProperties": dict(values)}:
            return f"object of {_type(values)}"
        case {"anyOf": options}:
            return " or ".join(dict.fromkeys(_type(option) for option in options))
        case {"enum": values}:
            return ", ".join(f"`{value}`" for value in values)
        case {"const": value}:
            return f"`{value}`"
        case {"type": str(name)}:
            return {"string": "text", "integer": "number"}.get(name, name)
        case _:
            return "anything"


def _models(schemas: Mapping[str, Any]) -> str:
    return "\n\n".join(["## What goes over the wire", *("\n".join(_model(name, schema)) for name, schema in schemas.items())])


def _model(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {name}"
    yield ""
    yield " ".join(schema.get("description", "").split())
    yield ""
    yield from _fields(schema.get("properties", {}).items())


def _fields(fields: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    yield "| field | type | meaning |"
    yield "| --- | --- | --- |"
    for name, schema in fields:
        yield f"| `{name}` | {_type(schema)} | {' '.join(schema.get('description', '').split())} |"


if __name__ == "__main__":
    sys.stdout.write(page())
