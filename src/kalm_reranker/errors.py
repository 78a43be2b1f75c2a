"""Every error this package raises on purpose, as one tree.

KalmRerankerError
├── InputError (ValueError)             a value the caller gave
│   ├── InvalidTextError                a query, document or instruction that cannot be read
│   │   └── TextTypeError (TypeError)   ... because it is no string
│   ├── InvalidPairError                something that is not (query, document)
│   ├── InvalidRatioError               a compression ratio that is not allowed here
│   ├── InvalidOptionError              any other setting: lengths, dtype, device, top_k, ...
│   └── DataFileError                   a line of a file that cannot be read
├── DatasetUnavailableError (OSError)   a public collection that could not be downloaded
├── CheckpointError
│   ├── CheckpointNotFoundError (FileNotFoundError)   no such name, directory or repository
│   ├── CheckpointUnavailableError (OSError)          the hub could not be reached
│   └── InvalidCheckpointError (ValueError)           found, but not what this code can run
├── StatesMismatchError (ValueError)    passage states of another model or template
├── StoreError
│   ├── StoreNotFoundError (FileNotFoundError)   no index in this directory
│   ├── StoreExistsError (FileExistsError)       there is one already
│   ├── InvalidStoreError (ValueError)           no store, or of a version this code cannot read
│   ├── DamagedStoreError (ValueError)           bytes on disk that are not what was written
│   ├── StoreBusyError (TimeoutError)            another process is writing
│   └── StoreWriteError (OSError)                full disk, read-only directory, ...
├── CalibrationError (ValueError)
│   ├── InvalidCalibrationError         a file that holds no calibration this code can read
│   ├── CalibrationMismatchError        a calibration of another model or template
│   └── CalibrationFitError             labelled pairs that no calibration can be fitted to
├── UnknownPassageError (KeyError)      no passage with this id
├── NonFiniteScoreError (ArithmeticError)   NaN or infinite logits
├── OutOfMemoryError (MemoryError)      a single passage or pair, or all results, do not fit
├── EngineError (RuntimeError)          the chosen execution cannot run on this machine
├── ServiceError                        work that a server does not do, or not now
│   ├── OverloadedError                 its queue is full: later
│   ├── NotReadyError                   it is still loading, or draining before it ends
│   ├── DeadlineExceededError (TimeoutError)   the request's time is over
│   ├── RequestCancelledError           nobody waits for the answer any more
│   ├── RequestTooLargeError (ValueError)      more documents or bytes than it takes
│   └── NoIndexError                    it was started without an index
├── ClientError                         what a client of a server met
│   ├── ServerUnreachableError (ConnectionError)   no answer at all
│   └── ServerRefusedError              an answer with an error: status, code
└── MissingExtraError (ImportError)     an optional dependency is not installed

A message says what was wrong, the value got and the values allowed; `hint` says what to do next.
"""

_MAX_SHOWN = 80  # characters of a value in a message


class KalmRerankerError(Exception):
    """Base of all errors of this package.

    Args:
        message: What was wrong, with the value got and the values allowed.
        hint: The next step for the caller, one sentence; None where the message says it all.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message} Hint: {self.hint}"


class InputError(KalmRerankerError, ValueError):
    """A value given by the caller is not usable."""


class InvalidTextError(InputError):
    """A query, document or instruction cannot be tokenised or makes no sense."""


class TextTypeError(InvalidTextError, TypeError):
    """A query, document or instruction is not a string."""


class InvalidPairError(InputError):
    """An element of `pairs` is not a (query, document) pair."""


class InvalidRatioError(InputError):
    """A compression ratio is not a positive integer or None, or cannot be derived."""


class InvalidOptionError(InputError):
    """A setting (length, batch size, dtype, device, top_k, ...) is out of range."""


class DataFileError(InputError):
    """A file of passages cannot be read; the message names file and line."""


class DatasetUnavailableError(KalmRerankerError, OSError):
    """A public collection exists, but its data could not be fetched; `hint` names the local way."""


class CheckpointError(KalmRerankerError):
    """A model checkpoint cannot be used."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """The model is neither a known name, a directory, nor a repository on the hub."""


class CheckpointUnavailableError(CheckpointError, OSError):
    """The model is on the hub, but its files could not be fetched."""


class InvalidCheckpointError(CheckpointError, ValueError):
    """The checkpoint was found but is damaged, incomplete, or of another architecture."""


class StatesMismatchError(KalmRerankerError, ValueError):
    """Passage states were made by another model, tokenizer or template than the one scoring."""


class StoreError(KalmRerankerError):
    """A store of passage states cannot be used."""


class StoreNotFoundError(StoreError, FileNotFoundError):
    """There is no index in the directory."""


class StoreExistsError(StoreError, FileExistsError):
    """There is an index (or something else) in the directory already."""


class InvalidStoreError(StoreError, ValueError):
    """The file is no store of passage states, or of a format version this code cannot read."""


class DamagedStoreError(StoreError, ValueError):
    """The bytes on disk are not what was written; the message names the records it can."""


class StoreBusyError(StoreError, TimeoutError):
    """Another process or thread holds the store's writer lock."""


class StoreWriteError(StoreError, OSError):
    """The store cannot be written: full disk, read-only directory, I/O error."""


class CalibrationError(KalmRerankerError, ValueError):
    """A calibration of scores cannot be made or used."""


class InvalidCalibrationError(CalibrationError):
    """The file cannot be read, is no calibration, or is of a version this code cannot read."""


class CalibrationMismatchError(CalibrationError):
    """The calibration was fitted to another model or template than the one scoring."""


class CalibrationFitError(CalibrationError):
    """The labelled pairs are too few, of one kind only, or not what a calibration can follow."""


class UnknownPassageError(KalmRerankerError, KeyError):
    """No passage has this id."""

    # KeyError shows the repr of its argument; a message is text.
    __str__ = KalmRerankerError.__str__


class NonFiniteScoreError(KalmRerankerError, ArithmeticError):
    """The model produced NaN or infinite logits (usually float16 overflow)."""


class OutOfMemoryError(KalmRerankerError, MemoryError):
    """Memory ran out and no smaller batch would help: a single item or the results do not fit."""


class EngineError(KalmRerankerError, RuntimeError):
    """The execution that was asked for cannot run here: no compiler, a failing kernel."""


class ServiceError(KalmRerankerError):
    """A server does not do what it was asked, or not now."""


class OverloadedError(ServiceError):
    """As many requests wait as may.

    Args:
        message: What is full.
        hint: See `KalmRerankerError`.
        retry_after_s: Seconds after which there should be room.
    """

    def __init__(self, message: str, *, hint: str | None = None, retry_after_s: float) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class NotReadyError(ServiceError):
    """The model is still being loaded, or the server finishes its last requests."""


class DeadlineExceededError(ServiceError, TimeoutError):
    """The time a request may take was over before its work was done."""


class RequestCancelledError(ServiceError):
    """Whoever asked is gone; what had not started was not done."""


class RequestTooLargeError(ServiceError, ValueError):
    """A request has more documents, or more bytes, than the server takes at once."""


class NoIndexError(ServiceError):
    """Stored passages are asked for, but the server was started without an index."""


class ClientError(KalmRerankerError):
    """A request to a server failed."""


class ServerUnreachableError(ClientError, ConnectionError):
    """There was no answer: no server at the address, a lost connection, a time limit."""


class ServerRefusedError(ClientError):
    """The server answered with an error.

    Args:
        message: What was asked, and the server's own words.
        hint: See `KalmRerankerError`.
        status: HTTP status.
        code: The server's name for the error; None where it gave none.
        request_id: Of the request, as the server's log has it; None where there is none.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        status: int,
        code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code
        self.request_id = request_id


class MissingExtraError(KalmRerankerError, ImportError):
    """An optional dependency is not installed; the message holds the install command."""


def shown(value: object) -> str:
    """Returns a value as messages show it: its `repr`, cut where it gets long."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
