"""A task's instruction in the place of the one in a model's own prompt."""

import re

# The form that instruction-aware embedders share: "Instruct: ...", then where the query begins.
_INSTRUCT = re.compile(
    r"\A(?P<head>\s*(?:<[^>]{1,20}>)?\s*Instruct(?:ion)?:\s*)"
    r"(?P<instruction>\S.*?)(?P<tail>\s*(?:<[^>]{1,20}>\s*)?Query:\s*)\Z",
    re.DOTALL | re.IGNORECASE,
)


def instructed_prompt(
    own: str | None, instruction: str | None, *, reads_messages: bool = False
) -> str | None:
    r"""Returns the prompt that gives a model a task's instruction; None for no such prompt.

    A model that was not trained with instructions would read one as part of the query, so it gets
    none: only a prompt of the form "Instruct: ... Query: " has its instruction replaced, and a
    model that reads a system message is given it as that.

    Args:
        own: The model's own prompt for queries.
        instruction: The task's.
        reads_messages: Whether a prompt becomes a system message.

    Example:
        >>> instructed_prompt("Instruct: Find answers.\nQuery: ", "Find code.")
        'Instruct: Find code.\nQuery: '
        >>> instructed_prompt("query: ", "Find code.") is None
        True
    """
    if instruction is None:
        return None
    found = _INSTRUCT.match(own or "")
    if found is not None:
        return f"{found['head']}{instruction}{found['tail']}"
    return instruction if reads_messages else None
