"""Which refusals of valid data are right although the OpenAPI document cannot foretell them."""

import re

import schemathesis
from schemathesis.core.failures import Failure
from schemathesis.core.transport import Response
from schemathesis.openapi.checks import RejectedPositiveData

_BEYOND_SCHEMAS = (
    # A schema counts characters, the model tokens; only where a request forbids to cut.
    r"has more than [\d,]+ tokens, and truncation is off",
    # A schema cannot compare two lists.
    r"(\w+) must be as many as (\w+), or one of either",
    # An index is made with vectors or without.
    r"needs dense vectors; this index was made without them",
)
_RIGHT_REFUSAL = re.compile("|".join(_BEYOND_SCHEMAS))


@schemathesis.hook
def filter_failure(
    context: schemathesis.HookContext, failure: Failure, case: schemathesis.Case, response: Response
) -> bool:
    """Returns False for what is no failure."""
    return not (
        isinstance(failure, RejectedPositiveData)
        and response.status_code in (400, 422)
        and _RIGHT_REFUSAL.search(response.text)
    )
