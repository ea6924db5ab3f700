"""The one shape in which every door says what is wrong: `{"error": {"code", "message", "field"?}}`."""

from typing import Any

from fastapi.responses import JSONResponse

CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    422: "invalid",
    429: "too_many",
    503: "unavailable",
}


class ApiError(Exception):
    """An error for the caller: status, message, and the field at fault if there is one."""

    def __init__(self, status: int, message: str, field: str | None = None) -> None:
        """Keep what the JSON will say."""
        super().__init__(message)
        self.status, self.message, self.field = status, message, field


def error_response(status: int, message: str, field: str | None = None) -> JSONResponse:
    """Return the one JSON error shape."""
    body: dict[str, Any] = {"code": CODES.get(status, "error"), "message": message}
    if field:
        body["field"] = field
    return JSONResponse({"error": body}, status_code=status)
