"""docs/rest-api.md says what the control API serves."""

from __future__ import annotations

from pathlib import Path

from avmm_control.document import page

REST_API = Path(__file__).parents[2] / "docs/rest-api.md"


def test_the_page_is_up_to_date() -> None:
    assert REST_API.read_text() == page(), "write it anew: python -m avmm_control.document > docs/rest-api.md"
