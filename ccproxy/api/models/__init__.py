"""The list of models, in OpenAI's and in Anthropic's format."""
