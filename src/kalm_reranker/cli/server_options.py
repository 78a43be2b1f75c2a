"""Options of `kalm serve` that set limits."""

from typing import Annotated, Any

import typer

_LIMITS = "Limits"


def _limit(name: str, help_text: str, metavar: str = "N") -> Any:  # noqa: ANN401  # as typer.Option
    return typer.Option(name, metavar=metavar, help=help_text, rich_help_panel=_LIMITS)


MaxDocumentsOption = Annotated[
    int, _limit("--max-documents", "Documents, or pairs, of a request; more get 413.")
]
MaxBodyBytesOption = Annotated[
    int, _limit("--max-body-bytes", "Bytes of a request's body; more get 413.")
]
MaxPendingRequestsOption = Annotated[
    int,
    _limit("--max-pending-requests", "Requests accepted and not answered yet; more get 429."),
]
MaxPendingBytesOption = Annotated[
    int, _limit("--max-pending-bytes", "Bytes of the bodies of those; more get 429.")
]
MaxInstructionTokensOption = Annotated[
    int,
    _limit("--max-instruction-tokens", "Tokens of a request's task instruction; more get 400."),
]
MaxResultsOption = Annotated[
    int, _limit("--max-results", "Largest top_k and candidates of a search.")
]
RequestTimeoutOption = Annotated[
    float, _limit("--request-timeout", "Seconds from acceptance to answer; then 504.", "SECONDS")
]
BodyTimeoutOption = Annotated[
    float,
    _limit("--body-timeout", "Seconds in which head and body of a request must arrive.", "SECONDS"),
]
DrainTimeoutOption = Annotated[
    float,
    _limit("--drain-timeout", "Seconds to finish accepted requests before the end.", "SECONDS"),
]
TextCacheBytesOption = Annotated[
    int,
    _limit("--text-cache-bytes", "Kept states of documents that came as text; 0 keeps none."),
]
StatesBytesOption = Annotated[
    int,
    _limit("--states-bytes", "Passage states that requests in work hold at once; others wait."),
]
TargetStepOption = Annotated[
    float,
    _limit(
        "--target-step",
        "Seconds that one batch should take: small requests wait for about one of a large one.",
        "SECONDS",
    ),
]
