"""Events and messages for the tests of the Messages API."""

import json
from typing import Any

import pytest

from ccproxy.api.messages.request import DecodedMessagesRequest, decode_messages
from ccproxy.api.messages.stream import ThinkingForm
from ccproxy.core.errors import (
    ClientError,
)

HELLO = {"role": "user", "content": "hello"}
SHOWN = ThinkingForm(is_shown=True)
SIGNED_ONLY = ThinkingForm(is_shown=True, has_text=False)


def decode(*messages: Any, **fields: Any) -> DecodedMessagesRequest:
    body = {"messages": messages or [HELLO], "model": "sonnet", **fields}
    return decode_messages(json.dumps(body).encode())


def refused(*messages: Any, **fields: Any) -> ClientError:
    with pytest.raises(ClientError) as caught:
        decode(*messages, **fields)
    return caught.value
