"""Random values of the Messages API's types, made from the table of its package.

A type that the package has later is in the requests as soon as the table has it. Left
out are fields that need a beta, breakpoints, which are set for a whole request, and
files and callers, which have to exist at the provider.

Source: ``provider_types.json``; see `generate_provider_types`.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

_TABLE = Path(__file__).with_name("provider_types.json")
_LEFT_OUT_FIELDS = frozenset(
    # They belong to one another, to another block, or to a schema of the client's.
    {
        *("cache_control", "caller", "allowed_callers", "toolset_name"),
        *("defer_loading", "strict", "input_examples"),
    }
)
_LEFT_OUT_TYPES = frozenset(
    {
        *("FileImageSourceParam", "FileDocumentSourceParam", "BrowserStateBlockParam"),
        # It names a tool of the request that is not loaded.
        "ToolReferenceBlockParam",
    }
)


@cache
def _types() -> Mapping[str, Any]:
    types: Mapping[str, Any] = json.loads(_TABLE.read_text())["types"]
    return types


class TypedValues:
    """Makes strategies for types of the table.

    Args:
        text: for any text.
        known: for fields that have their own values, by ``Type.field`` or ``field``.
    """

    def __init__(
        self,
        text: st.SearchStrategy[str],
        known: Mapping[str, st.SearchStrategy[Any]],
    ) -> None:
        self._known = known
        self._plain: Mapping[str, st.SearchStrategy[Any]] = {
            "str": text,
            "bool": st.booleans(),
            "null": st.none(),
            "int": st.integers(0, 2**31),
            "float": st.sampled_from([0.5, 2, 1e-3]),
            "anything": text | st.integers(0, 9) | st.none(),
        }
        self._made: dict[str, st.SearchStrategy[dict[str, Any]]] = {}

    def of(self, name: str) -> st.SearchStrategy[dict[str, Any]]:
        """Values of a type, with any of its optional fields."""
        if name not in self._made:
            # Types may be within themselves.
            self._made[name] = st.deferred(lambda: self._build(name))
        return self._made[name]

    def _build(self, name: str) -> st.SearchStrategy[dict[str, Any]]:
        about = _types()[name]
        left_out = _LEFT_OUT_FIELDS | set(about["beta"])
        fields = {
            field: self._field(f"{name}.{field}", field, hint)
            for field, hint in about["fields"].items()
            if field not in left_out
        }
        required = {k: v for k, v in fields.items() if k in about["required"]}
        optional = {k: v for k, v in fields.items() if k not in required}
        return st.fixed_dictionaries(required, optional=optional)

    def _field(self, place: str, name: str, hint: Any) -> st.SearchStrategy[Any]:
        for known in (place, name):
            if known in self._known:
                return self._known[known]
        return self._value(hint)

    def _value(self, hint: Any) -> st.SearchStrategy[Any]:
        if isinstance(hint, str):
            return self._plain[hint]
        if "ref" in hint:
            return self.of(hint["ref"])
        if "of" in hint:
            return st.sampled_from(hint["of"])
        if "list" in hint:
            return st.lists(self._value(hint["list"]), min_size=1, max_size=2)
        if "map" in hint:
            keys = st.text("abc_", min_size=1, max_size=5)
            return st.dictionaries(keys, self._value(hint["map"]), max_size=2)
        return st.one_of(
            [
                self._value(each)
                for each in hint["any"]
                if not (isinstance(each, dict) and each.get("ref") in _LEFT_OUT_TYPES)
            ]
        )
