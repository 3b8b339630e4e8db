"""The cost of a schema's references is bounded."""

import pytest

from ccproxy.api.responses.input.items import decode_items, resolve
from ccproxy.core.errors import RequestTooLarge


def test_repeated_references_to_a_large_schema_are_refused() -> None:
    kept = {"msg_1": b'{"role":"user","content":"' + b"x" * 1_000_000 + b'"}'}
    reference = b'{"type":"item_reference","id":"msg_1"}'
    assert len(resolve(decode_items([reference] * 33, "input"), kept)) == 33
    with pytest.raises(RequestTooLarge):
        resolve(decode_items([reference] * 34, "input"), kept)
