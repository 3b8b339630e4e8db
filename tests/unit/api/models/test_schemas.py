"""Lists of models in the form of the Messages API."""

import json

import pytest

from ccproxy.api.models.schemas import model_page
from ccproxy.core.errors import (
    InvalidRequest,
)


@pytest.mark.parametrize(
    ("after", "before", "limit", "names", "has_more"),
    [
        (None, None, 9, "abcd", False),
        (None, None, 2, "ab", True),
        ("b", None, 1, "c", True),
        ("d", None, 2, "", False),
        (None, "d", 2, "bc", True),
        ("a", "d", 9, "bc", False),
    ],
)
def test_pages_of_models(
    after: str | None, before: str | None, limit: int, names: str, has_more: bool
) -> None:
    page = json.loads(model_page("abcd", after=after, before=before, limit=limit))
    assert [model["id"] for model in page["data"]] == [*names]
    assert page["has_more"] is has_more
    ends = (page["first_id"], page["last_id"])
    assert ends == ((names[0], names[-1]) if names else (None, None))


def test_a_page_that_begins_nowhere() -> None:
    with pytest.raises(InvalidRequest, match="after_id"):
        model_page("ab", after="z", before=None, limit=1)
