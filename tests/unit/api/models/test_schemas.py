"""Lists of models in the form of the Messages API."""

import json

import pytest

from ccproxy.api.models.schemas import model_page
from ccproxy.core.backend import ModelEntry, ModelSize
from ccproxy.core.errors import InvalidRequest

SIZE = ModelSize(context_tokens=200_000, output_tokens=64_000)
MODELS = [ModelEntry(name=name, since_seconds=1, size=SIZE) for name in "abcd"]


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
    page = json.loads(model_page(MODELS, after=after, before=before, limit=limit))
    assert [model["id"] for model in page["data"]] == [*names]
    assert page["has_more"] is has_more
    for model in page["data"]:
        assert (model["max_input_tokens"], model["max_tokens"]) == (200_000, 64_000)
    ends = (page["first_id"], page["last_id"])
    assert ends == ((names[0], names[-1]) if names else (None, None))


def test_a_page_that_begins_nowhere() -> None:
    with pytest.raises(InvalidRequest, match="after_id"):
        model_page(MODELS, after="z", before=None, limit=1)
