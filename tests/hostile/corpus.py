"""Inputs of an attacker, by name: bodies, JSON Schemas, and frames of a WebSocket.

Each kind has a size, so that the suite sends small ones and the nightly run large ones.
"""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence

from attrs import frozen

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"


@frozen
class HostileBody:
    """A request.

    Attributes:
        name: the kind of value, and the place where the request has it.
    """

    name: str
    path: str
    body: bytes


def values(size: int) -> Mapping[str, bytes]:
    """JSON values, and what only looks like JSON; of about ``size`` bytes."""
    return {
        "deep list": b"[" * (size // 2) + b"]" * (size // 2),
        "deep object": b'{"a":' * (size // 6) + b"1" + b"}" * (size // 6),
        "900 lists": b"[" * 900 + b"]" * 900,
        "unfinished list": b"[" * size,
        "numbers": b"[" + b"1," * (size // 2) + b"1]",
        "floats": b"[" + b"1.50," * (size // 5) + b"1]",
        "empty lists": b"[" + b"[]," * (size // 3) + b"1]",
        "objects": b"[" + b'{"type":"text","text":"a"},' * (size // 26) + b"{}]",
        "nulls": b"[" + b"null," * (size // 5) + b"null]",
        "keys": b"{%b}" % b",".join(b'"k%d":1' % n for n in range(size // 10)),
        "one key": b'{"a":1' + b',"a":1' * (size // 6) + b"}",
        "long key": b'{"%b":1}' % (b"k" * size),
        "long text": b'"%b"' % (b"x" * size),
        "spaces": b" " * size + b'"x"' + b"\n" * 10,
        "escapes": b'"%b"' % (rb"\u00e9\n" * (size // 8)),
        "halves": b'"%b"' % (rb"\ud83d" * (size // 6)),
        "halves reversed": b'"%b"' % (rb"\ude00\ud83d" * (size // 12)),
        "emoji": b'"%b"' % ("\U0001f600" * (size // 4)).encode(),
        "backslashes": b'"%b"' % (b"\\\\" * (size // 2)),
        "quotes": b'"%b"' % (rb"\"" * (size // 2)),
        "long number": b"1" * size,
        "long float": b"1." + b"1" * size,
        "exponent": b"1e" + b"9" * min(size, 1000),
        "minus zero": b"-0",
        "not a number": b"NaN",
        "infinity": b"-Infinity",
        "null": b"null",
        "false": b"false",
        "NUL": rb'"\u0000"',
        "control character": b'"\x01"',
        "not UTF-8": b'"\xff\xfe"',
        "overlong UTF-8": b'"\xc0\xaf"',
        "UTF-8 of a half": b'"\xed\xa0\xbd"',
        "unicode keys": '{"\u202e":1,"\\u0000":2,"\ufeff":3,"e\u0301":4}'.encode(),
        "prototype": b'{"__proto__":{"a":1},"constructor":{},"toString":1}',
        "cut": b'{"a": [1, 2',
    }


# Where a request has a value; a part of a text in two of them.
_PLACES: Sequence[tuple[str, str, bytes]] = (
    ("content", CHAT, b'{"messages":[{"role":"user","content":%b}]}'),
    ("messages", CHAT, b'{"messages":%b}'),
    ("metadata", CHAT, b'{"messages":[{"role":"user","content":"x"}],"metadata":%b}'),
    (
        "parameters",
        CHAT,
        b'{"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function",'
        b'"function":{"name":"f","parameters":{"type":"object","properties":%b}}}]}',
    ),
    (
        "system",
        MESSAGES,
        b'{"model":"sonnet","max_tokens":9,"system":%b,"messages":'
        b'[{"role":"user","content":"x"}]}',
    ),
    (
        "input",
        MESSAGES,
        b'{"model":"sonnet","max_tokens":9,"tools":[{"name":"f","input_schema":'
        b'{"type":"object"}}],"messages":[{"role":"user","content":"x"},{"role":'
        b'"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":'
        b'{"a":%b}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":'
        b'"t","content":"r"}]}]}',
    ),
    ("items", RESPONSES, b'{"store":false,"input":%b}'),
    ("instructions", RESPONSES, b'{"store":false,"input":"x","instructions":%b}'),
)


def long_texts(size: int) -> Iterator[HostileBody]:
    """Texts of about ``size`` bytes where a request usually has a short one."""
    odd = "é" * (size // 2)
    mark = "__SYSTEM_PROMPT_DYNAMIC_BOUNDARY__"
    urls = {
        "parameter": "data:x;" + "a" * size,
        "semicolons": "data:" + ";" * size,
        "escapes": "data:image/png," + "%41" * (size // 3),
        "blanks": " " * size,
        "long https": "https://" + "a" * size,
    }
    called = [
        {"role": "user", "content": "x"},
        {
            "role": "assistant",
            "tool_calls": [{"id": odd, "function": {"name": odd, "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": odd, "content": "r"},
    ]
    many = ",".join(["1e308"] * min(size // 6, 40_000))
    function = {"id": "a", "function": {"name": "f", "arguments": f'{{"a":[{many}]}}'}}
    hello = [{"role": "user", "content": "x"}]
    asked: dict[str, Mapping[str, object]] = {
        "ids of calls": {"messages": called},
        "numbers of calls": {
            "messages": [
                *hello,
                {"role": "assistant", "tool_calls": [function]},
                {"role": "tool", "tool_call_id": "a", "content": "r"},
            ]
        },
        "name of a tool": {
            "messages": hello,
            "tools": [{"type": "function", "function": {"name": odd}}],
        },
        "role": {"messages": [{"role": odd, "content": "x"}]},
        "unknown field": {"messages": hello, odd: 1},
        "model": {"messages": hello, "model": ":free" * (size // 5) + "x"},
        "mark in blanks": {
            "messages": [
                {"role": "system", "content": f"{mark}\n{' ' * size}"},
                *hello,
            ]
        },
    }
    for name, url in urls.items():
        part = {"type": "image_url", "image_url": {"url": url}}
        asked[f"{name} of a URL"] = {"messages": [{"role": "user", "content": [part]}]}
    for name, fields in asked.items():
        body = json.dumps(fields, ensure_ascii=False)
        yield HostileBody(f"long text: {name}", CHAT, body.encode())
    choice = {"type": "`- at" * (size // 5)}
    anthropic = {"model": "sonnet", "max_tokens": 9, "messages": hello}
    body = json.dumps({**anthropic, "tool_choice": choice})
    yield HostileBody("long text: type of a choice", MESSAGES, body.encode())
    source = {"type": "base64", "media_type": "image/png", "data": urls["parameter"]}
    image = [{"role": "user", "content": [{"type": "image", "source": source}]}]
    body = json.dumps({**anthropic, "messages": image})
    yield HostileBody("long text: data of an image", MESSAGES, body.encode())


def bodies(size: int) -> Iterator[HostileBody]:
    """Some 310 requests."""
    yield from long_texts(size)
    for name, value in values(size).items():
        for place, path, frame in _PLACES:
            yield HostileBody(f"{name} as {place}", path, frame % value)


def schemas(size: int) -> Mapping[str, object]:
    """JSON Schemas that are costly to compile or to check, or are none."""
    doubled: dict[str, object] = {
        f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(18)
    }
    properties: dict[str, object] = {
        "doubled": {"$defs": {**doubled, "d18": {}}, "$ref": "#/$defs/d0"},
        "loop": {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        "wide": {"properties": {f"p{n}": {} for n in range(size // 10)}},
        "enum": {"properties": {"a": {"enum": list(range(size // 6))}}},
    }
    patterns = {
        "nested repetition": "^([a-z0-9]+(-?[a-z0-9]+)*)+$",
        "alternatives": "^(a|aa|aaa)*$",
        "large repetition": "a{99999999999}",
        "nested counts": "((a{100}){100}){100}",
        "ranges": "[Ā-￿]" * (size // 10),
        "long pattern": "a?" * (size // 2) + "a" * (size // 2),
        "open group": "(" * 500,
        "look-behind": "(?<=a+)b",
        "back reference": r"(a)\9",
        "NUL": "\0",
    }
    found: dict[str, object] = {
        name: {"type": "object", "properties": {"a": {"pattern": pattern}}}
        for name, pattern in patterns.items()
    }
    for name, words in properties.items():
        found[name] = {"type": "object", **words}  # type: ignore[dict-item]  # a mapping
    deep: object = {}
    for _ in range(300):
        deep = {"properties": {"a": deep}}
    found |= {
        "doubled": {
            "type": "object",
            "$defs": {**doubled, "d18": {}},
            "$ref": "#/$defs/d0",
        },
        "loop": {
            "type": "object",
            "$defs": {"a": {"$ref": "#/$defs/a"}},
            "$ref": "#/$defs/a",
        },
        "loop of roots": {"type": "object", "allOf": [{"$ref": "#"}]},
        "tree": {"properties": {"a": {"allOf": [{"$ref": "#"}] * 2}}, "type": "object"},
        "unknown reference": {"type": "object", "$ref": "#/$defs/none"},
        "remote reference": {"type": "object", "$ref": "http://169.254.169.254/x"},
        "file reference": {"type": "object", "$ref": "file:///etc/passwd"},
        "deep": {"type": "object", **deep},  # type: ignore[dict-item]  # a mapping
        "wide": {
            "type": "object",
            "properties": {f"p{n}": {} for n in range(size // 10)},
        },
        "enum": {
            "type": "object",
            "properties": {"a": {"enum": list(range(size // 6))}},
        },
        "unique items": {"type": "object", "properties": {"a": {"uniqueItems": True}}},
        "required": {"type": "object", "required": [f"p{n}" for n in range(size // 8)]},
        "negative": {"type": "object", "minProperties": -1, "maxLength": 1e308},
        "no object": {"type": "string"},
        "list": [1, 2, 3],
    }
    return found


def schema_bodies(size: int) -> Iterator[HostileBody]:
    """The schemas, as a form of the answer and as a tool's."""
    message = [{"role": "user", "content": "x"}]
    for name, schema in schemas(size).items():
        form = {"name": "f", "schema": schema}
        wanted = {"type": "json_schema", "json_schema": form}
        body = {"messages": message, "response_format": wanted}
        yield HostileBody(f"{name} as a format", CHAT, json.dumps(body).encode())
        tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
        body = {"messages": message, "tools": [tool]}
        yield HostileBody(f"{name} as a tool", CHAT, json.dumps(body).encode())


_TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x1, 0x2, 0x8, 0x9, 0xA
_FIN, _MASKED = 0x80, 0x80


def frame(
    opcode: int,
    data: bytes = b"",
    *,
    first: int = _FIN,
    masked: int = _MASKED,
    length: int | None = None,
) -> bytes:
    """A client's frame; the mask is zero, so that the data is what it is."""
    size = len(data) if length is None else length
    if size < 126:
        head = struct.pack("!BB", first | opcode, masked | size)
    elif size < 2**16:
        head = struct.pack("!BBH", first | opcode, masked | 126, size)
    else:
        head = struct.pack("!BBQ", first | opcode, masked | 127, size)
    return head + (bytes(4) if masked else b"") + data


def sockets(size: int) -> Mapping[str, bytes]:
    """What a client sends after the handshake."""
    ask = b'{"type":"response.create","store":false,"input":%b}'
    hello = frame(_TEXT, ask % b'"x"')
    found = {
        f"{name} as input": frame(_TEXT, ask % value)
        for name, value in [*values(size).items()][:26]
    }
    found |= {
        "pings": frame(_PING, b"x" * 125) * (size // 125),
        "pongs": frame(_PONG) * (size // 6),
        "single bytes": frame(_TEXT, b"{", first=0)
        + frame(0, b" ", first=0) * (size // 7),
        "empty fragments": frame(_TEXT, first=0) + frame(0, first=0) * (size // 6),
        "pings between fragments": (
            frame(_TEXT, b'{"type":', first=0) + frame(_PING) + frame(0, b'"x"}')
        ),
        "message in a message": frame(_TEXT, b"{", first=0) + hello,
        "continuation of nothing": frame(0, b"x"),
        "binary": frame(_BINARY, b"x"),
        "not UTF-8": frame(_TEXT, b"\xff"),
        "reserved bits": frame(_TEXT, b"x", first=_FIN | 0x70),
        "unknown opcode": frame(0x3, b"x"),
        "unmasked": frame(_TEXT, b"x", masked=0),
        "endless length": frame(_TEXT, b"x", length=2**62),
        "negative length": frame(_TEXT, b"x", length=2**64 - 1),
        "long ping": frame(_PING, b"x" * 126),
        "fragmented ping": frame(_PING, b"x", first=0),
        "close of one byte": frame(_CLOSE, b"x"),
        "close with a wrong code": frame(_CLOSE, struct.pack("!H", 1005)),
        "close not UTF-8": frame(_CLOSE, struct.pack("!H", 1000) + b"\xff"),
        "after the close": frame(_CLOSE, struct.pack("!H", 1000)) + hello,
        "messages at once": hello * 40,
        "no type": frame(_TEXT, b"{}"),
        "another type": frame(_TEXT, b'{"type":"session.update"}'),
        "HTTP": b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
    }
    return found
