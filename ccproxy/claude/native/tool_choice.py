"""How the model is asked for a tool call that the client requires. Pure.

Current models think before they answer, and their API then refuses a forced tool
choice. So the system prompt asks for the call, and a reminder follows if the model
answers with text alone.
"""

from collections.abc import Mapping

from ccproxy.claude.native.prompt import Prompt, PromptMessage, Role, TextBlock


def system_prompt(prompt: Prompt, *, forced: bool) -> str:
    """The system prompt, with the required call at its end.

    Args:
        prompt: the request.
        forced: whether ``tool_choice`` itself forces the call.
    """
    if not prompt.must_call or forced:
        return prompt.system
    parts = [prompt.system, f"{_instruction(prompt)} Do not answer in prose."]
    return "\n\n".join(part for part in parts if part)


def reminder(prompt: Prompt) -> PromptMessage:
    """The user's turn for a model that answered without a call."""
    return PromptMessage(
        Role.USER, (TextBlock(f"{_instruction(prompt)} Make the call now."),)
    )


def tool_choice(prompt: Prompt, *, forced: bool) -> Mapping[str, object] | None:
    """The API's ``tool_choice``; None: the model is free.

    ``disable_parallel_tool_use`` goes to every model: unlike a forced choice, none
    refuses it.
    """
    if not prompt.tools:
        return None
    choice: dict[str, object] = {}
    if forced and prompt.must_call and len(prompt.tools) == 1:
        choice = {"type": "tool", "name": prompt.tools[0].name}
    elif forced and prompt.must_call:
        choice = {"type": "any"}
    if not prompt.parallel_calls:
        choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
    return choice or None


def _instruction(prompt: Prompt) -> str:
    names = [f"`{tool.name}`" for tool in prompt.tools]
    if len(names) == 1:
        return f"Your next answer has to be a call of the tool {names[0]}."
    return f"Your next answer has to be a call of one of the tools {', '.join(names)}."
