"""How a call that the client demands is demanded of the model. Pure.

Current models think before they answer, and their API takes no forced choice then; so
the model is told in the system prompt, and once more if it answers in prose.
"""

from collections.abc import Mapping

from ccproxy.claude.native.prompt import Prompt, PromptMessage, Role, TextBlock


def system_prompt(prompt: Prompt, *, native: bool) -> str:
    """The system prompt, with the demand behind it.

    Args:
        prompt: the question.
        native: whether the API itself is told (`tool_choice`).
    """
    if not prompt.must_call or native:
        return prompt.system
    parts = [prompt.system, f"{_order(prompt)} Do not answer in prose."]
    return "\n\n".join(part for part in parts if part)


def reminder(prompt: Prompt) -> PromptMessage:
    """What is said to a model that answered in prose."""
    return PromptMessage(
        Role.USER, (TextBlock(f"{_order(prompt)} Make the call now."),)
    )


def tool_choice(prompt: Prompt, *, native: bool) -> Mapping[str, object] | None:
    """What the API is told of it; None: nothing, the model is free.

    One call at a time is no forced choice, and every model takes it.
    """
    if not prompt.tools:
        return None
    choice: dict[str, object] = {}
    if native and prompt.must_call and len(prompt.tools) == 1:
        choice = {"type": "tool", "name": prompt.tools[0].name}
    elif native and prompt.must_call:
        choice = {"type": "any"}
    if not prompt.parallel_calls:
        choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
    return choice or None


def _order(prompt: Prompt) -> str:
    names = [f"`{tool.name}`" for tool in prompt.tools]
    if len(names) == 1:
        return f"Your next answer has to be a call of the tool {names[0]}."
    return f"Your next answer has to be a call of one of the tools {', '.join(names)}."
