"""What can be wrong with a request, as errors; `failures` says how each one is answered.

InputError
└── InvalidRequestError     a field of the body, the path or the query string (400)
ServiceError
└── RefusedRequestError     anything else about a request, with the status that says so
    ├── UnknownModelError   another model than the one that is served (404)
    └── ReadOnlyError       the server does not change its index (403)
"""

from collections.abc import Mapping, Sequence

from kalm_reranker.errors import InputError, ServiceError, shown


class InvalidRequestError(InputError):
    """A request's JSON is not usable; the message goes to the client as it is.

    Args:
        message: What was wrong, with the value got and the values allowed.
        hint: See `KalmRerankerError`; clients are told.
        param: Where: "documents.3.text"; None if it is about the body as a whole.
        code: A name for programs.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        param: str | None = None,
        code: str = "invalid_value",
    ) -> None:
        super().__init__(message, hint=hint)
        self.param = param
        self.code = code


class RefusedRequestError(ServiceError):
    """A request is not answered for a reason that has a status of its own.

    Args:
        message: What was wrong; it goes to the client as it is.
        hint: See `KalmRerankerError`; clients are told.
        status: HTTP status.
        code: A name for programs.
        param: Where in the request; None if there is no such place.
        headers: Headers the status wants.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        status: int,
        code: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code
        self.param = param
        self.headers = dict(headers or {})


class UnknownModelError(RefusedRequestError):
    """A request names a model that is not served here.

    Args:
        name: As in the request.
        served: Names that are answered to.
    """

    def __init__(self, name: str, served: Sequence[str]) -> None:
        super().__init__(
            f"model {shown(name)} is not served here; served: {', '.join(served)}.",
            hint="Leave model out, or start the server with --served-model-name NAME "
            '("*": any name).',
            status=404,
            code="model_not_found",
            param="model",
        )


class ReadOnlyError(RefusedRequestError):
    """A request would change the index of a server that may not."""

    def __init__(self) -> None:
        super().__init__(
            "this server is read-only: it neither adds nor deletes passages.",
            status=403,
            code="read_only",
        )
