"""Every error that the front end answers with, on one page.

    ApiError
    ├── RequestError                 400: refused, the request is wrong
    │   ├── ValidationError          a member or value is not allowed; names the place
    │   ├── SerializationError       not JSON, or a member of the wrong JSON type
    │   ├── UnknownOperationError    no such operation here
    │   ├── MissingTokenError        no Authorization header
    │   ├── IncompleteSignatureError the Authorization header cannot be read
    │   ├── ResourceNotFoundError    no such table of this customer, or not active
    │   ├── ResourceInUseError       the table exists already, or is changing
    │   └── LimitExceededError       too many changes of tables or indexes at once
    ├── ServiceUnavailableError      503: refused, nothing was stored; another try may succeed
    └── InternalServerError          500: unknown, the write may or may not have been stored

The status alone tells a client the outcome: 400 and 503 are refused, 500 is unknown. Decides names and
shapes only (invariant I9: no other error leaves the front end). Names as in botocore's service model.
"""

from __future__ import annotations

from cellwall.history import Outcome

_DYNAMODB = "com.amazonaws.dynamodb.v20120810#"
_SERVICE = "com.amazon.coral.service#"


class ApiError(Exception):
    """Base of all answers that are not a success."""

    status = 500
    type_name = _DYNAMODB + "InternalServerError"
    outcome: Outcome = "unknown"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def body(self) -> dict[str, str]:
        return {"__type": self.type_name, "message": self.message}


class RequestError(ApiError):
    status = 400
    outcome: Outcome = "refused"


class ValidationError(RequestError):
    type_name = "com.amazon.coral.validate#ValidationException"


class SerializationError(RequestError):
    type_name = _SERVICE + "SerializationException"


class UnknownOperationError(RequestError):
    type_name = _SERVICE + "UnknownOperationException"


class MissingTokenError(RequestError):
    type_name = _SERVICE + "MissingAuthenticationTokenException"


class IncompleteSignatureError(RequestError):
    type_name = _SERVICE + "IncompleteSignatureException"


class ResourceNotFoundError(RequestError):
    type_name = _DYNAMODB + "ResourceNotFoundException"


class ResourceInUseError(RequestError):
    type_name = _DYNAMODB + "ResourceInUseException"


class LimitExceededError(RequestError):
    type_name = _DYNAMODB + "LimitExceededException"


class ServiceUnavailableError(ApiError):
    status = 503
    type_name = _DYNAMODB + "ServiceUnavailable"
    outcome: Outcome = "refused"


class InternalServerError(ApiError):
    pass
