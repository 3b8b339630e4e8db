"""JSON Schemas compiled and instances checked, as in the helper process."""

import json
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import (
    Draft4Validator,
    Draft6Validator,
    Draft7Validator,
    Draft201909Validator,
    Draft202012Validator,
    SchemaError,
)
from referencing import Registry

from ccproxy.claude.schemas.drafts import SchemaRefused, path_text, python_pattern
from ccproxy.claude.schemas.helper_main import SchemaValidator
from ccproxy.claude.schemas.helper_messages import (
    HelperAnswer,
    HelperOutcome,
    HelperRequest,
)
from ccproxy.claude.schemas.text_limits import (
    INSTANCE_LIMITS,
    SCHEMA_LIMITS,
    TextLimits,
)
from ccproxy.claude.schemas.validation import compile_schema

DRAFTS: Any = [
    *(Draft4Validator, Draft6Validator, Draft7Validator),
    *(Draft201909Validator, Draft202012Validator),
]
KEYWORDS = sorted(
    {
        *(name for draft in DRAFTS for name in draft.VALIDATORS),
        *("$defs", "definitions", "then", "else", "$id", "$anchor"),
        *("contentSchema", "title", "default", "examples", "x-unknown"),
    }
    - {"$dynamicRef", "$recursiveRef"}
)
SIMPLE = (
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.sampled_from(
        [0.5, 1.0, "", "string", "object", "#/$defs/a", "#a", "x#a", "(", "x", "1 a"]
    )
)
VALUES: Any = st.recursive(
    SIMPLE,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*KEYWORDS, "a"]), inner, max_size=4)
    ),
    max_leaves=12,
)
ANYTHING = st.dictionaries(st.sampled_from(KEYWORDS), VALUES, max_size=4)

TYPES = st.sampled_from(
    ["array", "boolean", "integer", "null", "number", "object", "string"]
)
NAMES = st.sampled_from(["a", "b", "c"])
PATTERNS = st.sampled_from(["^a", "b$", "[0-9]+", "^(?<x>a)b*$"])


def _larger(inner: Any) -> Any:
    some = st.lists(inner, min_size=1, max_size=2)
    named = st.dictionaries(NAMES, inner, max_size=2)
    one: Any = {
        **dict.fromkeys(["allOf", "anyOf", "oneOf"], some),
        **dict.fromkeys(["not", "contains", "propertyNames", "items"], inner),
        **dict.fromkeys(["additionalProperties", "if", "then", "else"], inner),
        "properties": named,
        "patternProperties": st.dictionaries(PATTERNS, inner, max_size=2),
        "required": st.lists(NAMES, unique=True, min_size=1, max_size=2),
        "$ref": st.just("#/definitions/d"),
        "dependencies": st.dictionaries(
            NAMES, inner | st.lists(NAMES, unique=True, min_size=1), max_size=2
        ),
    }
    return st.fixed_dictionaries({}, optional=one)


GOOD: Any = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "type": TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True),
            "enum": st.lists(SIMPLE, min_size=1, max_size=3, unique_by=repr),
            "minimum": st.integers(-2, 3),
            "maxLength": st.integers(0, 2),
            "minItems": st.integers(0, 2),
            "pattern": PATTERNS,
            "uniqueItems": st.booleans(),
        },
    ),
    _larger,
    max_leaves=6,
)
INSTANCES: Any = st.recursive(
    SIMPLE,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.fixture(autouse=True, scope="module")
def python_may_warn_of_patterns() -> Iterator[None]:
    """As the program does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def check(schema: Any, instance: Any) -> str | None:
    return compile_schema(json.dumps(schema)).problem(json.dumps(instance))


def refusal(schema: Any) -> tuple[str, str]:
    text = schema if isinstance(schema, str) else json.dumps(schema)
    with pytest.raises(SchemaRefused) as caught:
        compile_schema(text)
    return path_text(caught.value.path, ""), str(caught.value)


def python_only(schema: Any) -> Any:
    """The schema for jsonschema alone: patterns with Python's named groups."""
    return json.loads(json.dumps(schema).replace("(?<x>", "(?P<x>"))


@settings(max_examples=150)
@given(draft=st.sampled_from(DRAFTS), schema=GOOD, target=GOOD, instance=INSTANCES)
def test_the_verdict_is_that_of_jsonschema(
    draft: Any, schema: Any, target: Any, instance: Any
) -> None:
    whole = {**schema, "$schema": draft.META_SCHEMA["$schema"]}
    whole["definitions"] = {"d": target}
    try:
        found = check(whole, instance)
    except SchemaRefused as refused:
        # A reference of the target to itself; or what draft 4 has not.
        assert "cycle" in str(refused) or refused.path
        if "cycle" not in str(refused):
            with pytest.raises(SchemaError):
                draft.check_schema(python_only(whole), format_checker=None)
        return
    expected = draft(python_only(whole), registry=Registry()).is_valid(instance)
    assert (found is None) == expected


@settings(max_examples=150)
@given(draft=st.sampled_from(DRAFTS), schema=ANYTHING)
def test_a_schemas_shape_is_checked_as_by_check_schema(draft: Any, schema: Any) -> None:
    schema = {**schema, "$schema": draft.META_SCHEMA["$schema"]}
    try:
        draft.check_schema(schema, format_checker=None)
        is_good = True
    except SchemaError:
        is_good = False
    try:
        compile_schema(json.dumps(schema))
    except SchemaRefused as refused:
        why = str(refused)
        more = (
            *("regular expression", "the schema has nothing", "is not a schema"),
            # Draft 4's own schema allows any `$ref`.
            *("cycle", "it must be a string"),
        )
        assert not is_good or any(word in why for word in more)
    else:
        # Before 2019 nothing counts beside a `$ref`, whatever it is.
        assert is_good or '"$ref"' in json.dumps(schema)


@given(ANYTHING, INSTANCES)
def test_no_schema_raises_an_unexpected_error(schema: Any, instance: Any) -> None:
    validation = SchemaValidator()
    request = HelperRequest(json.dumps(schema), 1.0, json.dumps(instance))
    answer = validation.answer(request)
    assert answer.outcome in (
        HelperOutcome.VALID,
        HelperOutcome.INVALID,
        HelperOutcome.REFUSED,
    )
    assert validation.answer(request) == answer


@pytest.mark.parametrize(
    ("schema", "instance", "problem"),
    [
        (True, 1, None),
        (False, 1, "`$` must not be there"),
        ({"type": "object"}, {}, None),
        ({"items": {"type": "integer"}}, [1, "secret"], '`$[1]` …type`: "integer"'),
        (
            {"anyOf": [{"properties": {"a": {"properties": {"b": {"type": "null"}}}}}]},
            {"a": {"b": "secret"}},
            '`$.a.b` does not satisfy `type`: "null"',
        ),
        ({"required": ["a", "b"]}, {"a": 1}, '`$` must have the property "b"'),
        (
            {"properties": {"a": {}}, "additionalProperties": False},
            {"a": 1, "c d": "secret"},
            '`$` must not have the property "c d"',
        ),
        (
            {"additionalProperties": {"maximum": 3}},
            {"c d": 4},
            '`$["c d"]` does not satisfy `maximum`: 3',
        ),
        ({"enum": ["x" * 500]}, "secret", '`$` does not satisfy `enum`: ["xxx'),
        # Formats are annotations.
        ({"format": "email"}, "nobody", None),
        # Named groups are JavaScript's.
        ({"pattern": "^(?<a>x)\\k<a>$"}, "xx", None),
        ({"pattern": "^(?<a>x)\\k<a>$"}, "xy", "`$` does not satisfy `pattern`"),
        (
            {"patternProperties": {"^(?<a>x)": False}, "additionalProperties": True},
            {"x": 1},
            "`$.x` must not be there",
        ),
    ],
)
def test_a_problem_names_the_place_and_the_keyword(
    schema: Any, instance: Any, problem: str | None
) -> None:
    found = check(schema, instance)
    if problem is None:
        assert found is None
    else:
        assert found is not None
        for part in problem.split("…"):
            assert part in found
        assert "secret" not in found
        assert len(found) < 400


def test_an_answer_that_is_no_json_is_a_problem() -> None:
    assert "it is not JSON" in str(compile_schema("{}").problem("Sorry, I cannot."))
    assert "it is not JSON" in str(compile_schema("{}").problem('{"a": 1'))


@pytest.mark.parametrize(
    ("schema", "path", "why"),
    [
        ("", "", "it is not JSON"),
        ("7", "", "it must be an object or a boolean"),
        ({"$schema": "https://example.com/own"}, "$schema", "it must be one of"),
        ({"$schema": 7}, "$schema", "it must be one of"),
        ({"properties": {"a b": {"type": "any"}}}, 'properties["a b"].type', '"any"'),
        ({"anyOf": [{}, {"required": "a"}]}, "anyOf[1].required", '"a" does not'),
        ({"allOf": []}, "allOf", "`minItems`: 1"),
        ({"$id": "http://example.com/#a"}, "$id", "does not satisfy `pattern`"),
        ({"type": "any"}, "type", '"any" is neither one of array, boolean'),
        ({"$defs": {"a": {"pattern": "("}}}, "$defs.a.pattern", "does not compile"),
        ({"patternProperties": {"[": {}}}, 'patternProperties["["]', "not compile"),
        ({"pattern": "\\p{Script=Greek}"}, "pattern", "bad escape"),
        ({"pattern": "[\\p{Emoji}]"}, "pattern", "bad escape"),
        ({"pattern": "\\p{Lz}"}, "pattern", "unterminated"),
        ({"pattern": "a{99999999999}"}, "pattern", "too large"),
        (
            {
                "patternProperties": {"(?P<a>x)": {}, "(?P<a>y)": {}},
                "additionalProperties": False,
            },
            "patternProperties",
            "redefinition of group name",
        ),
        (
            {"$ref": "#/$defs/none"},
            "$ref",
            "the schema has nothing at `#/$defs/none`",
        ),
        ({"items": {"$ref": "other.json"}}, "items.$ref", "nothing is fetched"),
        ({"items": {"$ref": "http://["}}, "items.$ref", "the schema has nothing"),
        ({"$ref": "#/x", "x": 7}, "$ref", "the value at `#/x` is not a schema"),
        # Where no subschema is, nobody has looked at it.
        ({"$ref": "#/x", "x": {"type": "any"}}, "$ref.type", '"any"'),
        (
            {"$ref": "#/x", "x": {"items": {"pattern": "("}}},
            "$ref.items.pattern",
            "not comp",
        ),
        ({"$ref": "#"}, "", "cycle"),
        ({"properties": {"a": {"$ref": "#/properties/a"}}}, "properties.a", "cycle"),
        ({"anyOf": [{"type": "null"}, {"not": {"$ref": "#"}}]}, "", "cycle"),
    ],
)
def test_an_unusable_schema_is_refused(schema: Any, path: str, why: str) -> None:
    at, said = refusal(schema)
    assert at == path
    assert why in said


@pytest.mark.parametrize(
    "schema",
    [
        {"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"},
        {"$id": "http://example.com/a.json", "items": {"$ref": "a.json"}},
        {"$id": "http://example.com/a/", "$defs": {"b": {"$id": "b"}}, "$ref": "b"},
        {"$defs": {"b": {"$anchor": "here"}}, "items": {"$ref": "#here"}},
        {"$dynamicAnchor": "node", "items": {"$dynamicRef": "#node"}},
        {"definitions": {"b": {}}, "items": {"$ref": "#/definitions/b"}},
        {"properties": {"$ref": {"type": "string"}, "pattern": {"const": "("}}},
        {"enum": [[], {"pattern": "("}, {"$ref": "nowhere"}]},
        {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{}, True]},
        {"$schema": "https://json-schema.org/draft-07/schema", "items": [{}]},
        {"$schema": "http://json-schema.org/draft-04/schema#", "id": "#", "items": {}},
        # Nothing counts beside a `$ref` there.
        {
            "$schema": "http://json-schema.org/draft-06/schema#",
            "$ref": "#/definitions/b",
            "pattern": "(",
            "definitions": {"b": {}},
        },
        {
            "$schema": "https://json-schema.org/draft/2019-09/schema",
            "items": {"$recursiveRef": "#"},
        },
    ],
)
def test_a_usable_schema_compiles(schema: Any) -> None:
    assert check(schema, []) is None


def test_the_draft_decides_the_meaning() -> None:
    schema: Any = {"exclusiveMinimum": True, "minimum": 3}
    # If none is declared, older words count.
    assert check(schema, 3) == "`$` does not satisfy `exclusiveMinimum`: 3"
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    assert refusal(schema)[0] == "exclusiveMinimum"
    schema["$schema"] = "http://json-schema.org/draft-04/schema#"
    assert check(schema, 3) == "`$` does not satisfy `minimum`: 3"


def test_references_that_multiply_are_refused() -> None:
    def doubled(levels: int) -> Any:
        defs: Any = {
            f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2}
            for n in range(levels)
        }
        return {"$defs": {**defs, f"d{levels}": {}}, "$ref": "#/$defs/d0"}

    assert check(doubled(10), 1) is None
    assert "multiply to more than 10000" in refusal(doubled(18))[1]
    assert "multiply to more than 10000" in refusal(doubled(200))[1]


@pytest.mark.parametrize(
    ("javascript", "python"),
    [
        ("(?<name>a)\\k<name>", "(?P<name>a)(?P=name)"),
        ("(?<=a)(?<!b)(?:c)", "(?<=a)(?<!b)(?:c)"),
        ("[(?<a>]", "[(?<a>]"),
        ("\\(?<a>", "\\(?<a>"),
        ("[\\]](?<b>x)", "[\\]](?P<b>x)"),
        ("\\\\(?<c>x)", "\\\\(?P<c>x)"),
    ],
)
def test_named_groups_are_translated(javascript: str, python: str) -> None:
    assert python_pattern(javascript) == python


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        ("^\\p{L}+$", "Straße中", "a1"),
        ("^[\\p{Lu}_]+$", "Ä_É", "ä"),
        ("^\\P{L}+$", "12 ", "a"),
        ("^[^\\P{L}]+$", "abc", "a1"),
        ("^[\\P{Nd}a]$", "b", "7"),
        ("^\\p{gc=Nd}{2}$", "7٣", "7a"),
        ("^\\\\p{2}$", "\\pp", "a"),
    ],
)
def test_categories_are_translated(pattern: str, good: str, bad: str) -> None:
    schema = {"pattern": pattern}
    assert check(schema, good) is None
    assert check(schema, bad) is not None


def test_compiled_schemas_are_kept_within_bounds() -> None:
    validation = SchemaValidator()
    for number in range(200):
        answer = validation.answer(
            HelperRequest(f'{{"const": {number}}}', 1.0, str(number))
        )
        assert answer == HelperAnswer(HelperOutcome.VALID)
    assert len(validation.kept) == 64
    large = json.dumps({"description": "x" * 5_000_000})
    for text in (large, f"{large} "):
        assert (
            validation.answer(HelperRequest(text, 1.0)).outcome is HelperOutcome.VALID
        )
    assert list(validation.kept) == [f"{large} "]


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value
    return (
        1 + max(map(depth, inner), default=0) if isinstance(value, dict | list) else 0
    )


def parts(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value
    return 1 + sum(map(parts, inner)) if isinstance(value, dict | list) else 0


TEXTS = st.text(alphabet='a\\"{}[]\n', max_size=6)


@given(
    st.recursive(
        TEXTS | st.none(),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4)
        ),
    )
)
def test_limits_count_depth_and_parts(value: Any) -> None:
    text = json.dumps(value).encode()
    size, deep, many = len(text), depth(value), parts(value)
    assert TextLimits(size_bytes=size, depth=deep, parts=many).excess(text) is None
    for limits, what in (
        (TextLimits(size_bytes=size - 1, depth=deep, parts=many), "bytes"),
        (TextLimits(size_bytes=size, depth=deep - 1, parts=many), "deep"),
        (TextLimits(size_bytes=size, depth=deep, parts=many - 1), "objects"),
    ):
        if what == "bytes" or deep > 0:
            assert what in str(limits.excess(text))


def test_the_limits_allow_deep_schemas_and_answers() -> None:
    assert SCHEMA_LIMITS.excess(b'{"items":' * 250 + b"1" + b"}" * 250) is None
    assert INSTANCE_LIMITS.excess(b"[" * 500 + b"]" * 500) is None
