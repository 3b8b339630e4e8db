"""The official openai package as a client."""

from typing import Any

import openai

from tests.support.server import KEY, RunningProxy


def client(server: RunningProxy, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, **options)
