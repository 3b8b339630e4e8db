"""Lists of models in the form of OpenAI's API."""

import json

from hypothesis import given
from hypothesis import strategies as st

from ccproxy.api.models.schemas import model_document, models_document
from tests.support.spec import model_errors, models_errors

NAMES = st.text(st.characters(exclude_categories=["Cs"]))
SECONDS = st.integers(0, 2**40)


@given(NAMES, SECONDS)
def test_a_model(name: str, since_seconds: int) -> None:
    decoded = json.loads(model_document(name, since_seconds))
    assert model_errors(decoded) == []
    assert decoded == {
        "id": name,
        "object": "model",
        "created": since_seconds,
        "owned_by": "anthropic",
    }


@given(st.lists(st.tuples(NAMES, SECONDS)))
def test_a_list_of_models(models: list[tuple[str, int]]) -> None:
    decoded = json.loads(models_document(models))
    assert models_errors(decoded) == []
    assert decoded["object"] == "list"
    assert decoded["data"] == [json.loads(model_document(*model)) for model in models]
