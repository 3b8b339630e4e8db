"""Models, as OpenAI's and as Anthropic's clients read them."""
