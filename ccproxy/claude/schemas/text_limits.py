"""Limits of the JSON texts that are sent to a helper process. Pure.

The check of a text of 2 MB takes 6 ms, or up to 56 ms if the text consists of brackets
and quotation marks. Encoding the request to the helper takes up to 16 ms more. The
worst case on a machine with a load of five times its cores was 0.12 s.
"""

from attrs import frozen

_BRACKETS = b'{}[]"'
_OTHERS = bytes(code for code in range(256) if code not in _BRACKETS)
_OPENING = b"{["


@frozen(kw_only=True)
class TextLimits:
    """Limits of a JSON text.

    Attributes:
        size_bytes: bytes of the whole text.
        depth: levels of nested objects and arrays.
        parts: number of objects and arrays.
    """

    size_bytes: int
    depth: int
    parts: int

    def excess(self, text: bytes) -> str | None:
        """The limit that a text exceeds, as a clause; None: none.

        A text that is not JSON may pass. The helper then reports the error.

        Cost: O(n), most of it in C.
        """
        if len(text) > self.size_bytes:
            return f"it has more than {self.size_bytes} bytes"
        # Without escaped backslashes, a quotation mark after a backslash does not end a
        # string.
        bare = text.replace(b"\\\\", b"").replace(b'\\"', b"")
        # Two adjacent quotation marks can be removed: they are an empty string, or the
        # end of a string and the start of the next. Then every second part between
        # marks is in a string.
        marks = bare.translate(None, _OTHERS).replace(b'""', b"")
        brackets = b"".join(marks.split(b'"')[::2])
        if brackets.count(b"{") + brackets.count(b"[") > self.parts:
            return f"it has more than {self.parts} objects and arrays"
        depth = 0
        for bracket in brackets:
            depth += 1 if bracket in _OPENING else -1
            if depth > self.depth:
                return f"it is nested more than {self.depth} levels deep"
        return None


# The largest schemas of tool servers have some hundred kilobytes.
SCHEMA_LIMITS = TextLimits(size_bytes=2_000_000, depth=250, parts=50_000)
# Smaller, because one call checks a tool's schema, and holds the GIL until it returns.
TOOL_SCHEMA_LIMITS = TextLimits(size_bytes=2_000_000, depth=250, parts=10_000)
# A model's answer has at most 128,000 tokens of some four bytes each.
INSTANCE_LIMITS = TextLimits(size_bytes=2_000_000, depth=500, parts=200_000)
