"""Lists of models in the form of OpenAI's API."""

import json

from hypothesis import given
from hypothesis import strategies as st

from ccproxy.api.models.schemas import model_document, models_document
from ccproxy.core.backend import ModelEntry, ModelSize
from tests.support.spec import model_errors, models_errors

SIZES = st.builds(
    ModelSize,
    context_tokens=st.none() | st.integers(1, 10**7),
    output_tokens=st.none() | st.integers(1, 10**7),
)
ENTRIES = st.builds(
    ModelEntry,
    name=st.text(st.characters(exclude_categories=["Cs"])),
    since_seconds=st.integers(0, 2**40),
    size=SIZES,
)


@given(ENTRIES)
def test_a_model(entry: ModelEntry) -> None:
    decoded = json.loads(model_document(entry))
    assert model_errors(decoded) == []
    assert decoded["id"] == entry.name
    assert decoded["object"] == "model"
    assert decoded["created"] == entry.since_seconds
    assert decoded["owned_by"] == "anthropic"
    for name in ("length", "window"):
        assert decoded.get(f"context_{name}") == entry.size.context_tokens
    for name in ("model_len", "input_tokens"):
        assert decoded.get(f"max_{name}") == entry.size.context_tokens
    for name in ("output_tokens", "tokens"):
        assert decoded.get(f"max_{name}") == entry.size.output_tokens
    assert None not in decoded.values()


@given(st.lists(ENTRIES))
def test_a_list_of_models(entries: list[ModelEntry]) -> None:
    decoded = json.loads(models_document(entries))
    assert models_errors(decoded) == []
    assert decoded["object"] == "list"
    assert decoded["data"] == [json.loads(model_document(entry)) for entry in entries]
