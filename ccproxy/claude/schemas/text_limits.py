"""How large a JSON text may be before a helper process is asked about it. Pure.

Measured with 2 MB: 6 ms of text; up to 56 ms of nothing but brackets and quotation
marks. To write down what is sent to the helper adds up to 16 ms. On a machine with five
times as much to do as it has cores the worst of it took 0.12 s.
"""

from attrs import frozen

_BRACKETS = b'{}[]"'
_OTHERS = bytes(code for code in range(256) if code not in _BRACKETS)
_OPENING = b"{["


@frozen(kw_only=True)
class TextLimits:
    """How large a JSON text may be.

    Attributes:
        size_bytes: of the whole text.
        depth: objects and arrays within each other.
        parts: objects and arrays altogether.
    """

    size_bytes: int
    depth: int
    parts: int

    def excess(self, text: bytes) -> str | None:
        """What is too large about a text; None: nothing.

        A text that is no JSON passes or not; the helper tells what is wrong with it.

        Cost: O(n), most of it in C.
        """
        if len(text) > self.size_bytes:
            return f"it has more than {self.size_bytes} bytes"
        # Escaped backslashes first, then no quotation mark after one is the end of a
        # string.
        bare = text.replace(b"\\\\", b"").replace(b'\\"', b"")
        # Two marks beside each other change nothing about what is in strings, and that
        # is every second part between the marks that are left.
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


# A tool server's largest schemas have some hundred kilobytes.
SCHEMA_LIMITS = TextLimits(size_bytes=2_000_000, depth=250, parts=50_000)
# A model's answer has 128,000 tokens at most, of some four bytes.
INSTANCE_LIMITS = TextLimits(size_bytes=2_000_000, depth=500, parts=200_000)
