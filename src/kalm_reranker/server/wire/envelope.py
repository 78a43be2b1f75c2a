"""What every answer is wrapped in: which request, which model."""

from dataclasses import dataclass

from kalm_reranker.server.answering import ModelFacts
from kalm_reranker.server.settings import ServerSettings
from kalm_reranker.server.wire.model_names import answered_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """The frame of an answer.

    Attributes:
        request_id: Of the request.
        model: The name by which the request knows the model.
        facts: Of the model.
        remarks: What there is to say of the name, in sentences.
    """

    request_id: str
    model: str
    facts: ModelFacts
    remarks: tuple[str, ...] = ()


def envelope(
    wanted_model: str | None, facts: ModelFacts, settings: ServerSettings, *, request_id: str
) -> Envelope:
    """Returns the frame of the answer to a request for a model.

    Raises:
        UnknownModelError: Another one is served.
    """
    name, remark = answered_name(wanted_model, facts, settings)
    remarks = () if remark is None else (remark,)
    return Envelope(request_id=request_id, model=name, facts=facts, remarks=remarks)
