"""What the provider refuses in its own words, and what becomes of it."""

from tests.support.docs import DOCS, rows

INVALID = "invalid_request_error"
PATH = "messages.0.content.1"
DATA = f"{PATH}.image.source.base64.data: "
PDF = f"{PATH}.pdf.source.base64.data: "

# What the provider says as the table in docs/errors.md has it, its status and type, and
# the whole message if that is longer.
REFUSED: dict[str, tuple[int, str, str]] = {
    "prompt is too long: 210000 tokens > 200000 maximum": (400, INVALID, ""),
    "input length and `max_tokens` exceed context limit: 195000 + 21000 > 200000": (
        *(400, INVALID),
        "input length and `max_tokens` exceed context limit: 195000 + 21000 > 200000, "
        "decrease input length or `max_tokens` and try again",
    ),
    "image exceeds 5 MB maximum": (
        *(400, INVALID),
        f"{DATA}image exceeds 5 MB maximum: 6000000 bytes > 5242880 bytes",
    ),
    "image dimensions exceed max allowed size: 8000 pixels": (
        *(400, INVALID),
        f"{DATA}At least one of the image dimensions exceed max allowed size: 8000 "
        "pixels",
    ),
    "exceed max allowed size for many-image requests: 2000 pixels": (
        *(400, INVALID),
        f"{DATA}At least one of the image dimensions exceed max allowed size for "
        "many-image requests: 2000 pixels",
    ),
    "Could not process image": (400, INVALID, f"{DATA}Could not process image"),
    "Too much media: 0 document pages + 101 images > 100": (400, INVALID, ""),
    "The PDF specified is password protected": (
        *(400, INVALID),
        f"{PDF}The PDF specified is password protected.",
    ),
    "A maximum of 100 PDF pages may be provided": (
        *(400, INVALID),
        f"{PDF}A maximum of 100 PDF pages may be provided.",
    ),
    "The PDF specified was not valid": (
        *(400, INVALID),
        f"{PDF}The PDF specified was not valid.",
    ),
    "Request exceeds the maximum size": (413, "request_too_large", ""),
    "Output blocked by content filtering policy": (400, INVALID, ""),
    "Third-party apps now draw from your extra usage": (
        *(400, INVALID),
        "Third-party apps now draw from your extra usage, not your plan limits. Add "
        "more at claude.ai/settings/usage and keep going.",
    ),
    "You're out of extra usage": (
        *(400, INVALID),
        "You're out of extra usage. Add more at claude.ai/settings/usage and keep "
        "going.",
    ),
    "Extra usage is required for long context requests": (
        *(429, "rate_limit_error"),
        "Extra usage is required for long context requests.",
    ),
    "Your credit balance is too low": (
        *(400, INVALID),
        "Your credit balance is too low to access the Anthropic API. Please go to "
        "Plans & Billing to upgrade or purchase credits.",
    ),
    "You have reached your specified API usage limits": (
        *(400, INVALID),
        "You have reached your specified API usage limits. You will regain access on "
        "2999-12-01 at 00:00 UTC.",
    ),
    "Your payment failed": (402, "billing_error", ""),
    "This request would exceed your account's rate limit": (
        *(429, "rate_limit_error"),
        "This request would exceed your account's rate limit. Please try again later.",
    ),
    "Overloaded": (529, "overloaded_error", ""),
    "model: claude-nothing": (404, "not_found_error", ""),
    "invalid model name": (
        *(400, INVALID),
        "invalid model name passed in model=claude-nothing",
    ),
    "Claude Opus is not available on your plan": (
        *(403, "permission_error"),
        "Claude Opus is not available on your plan.",
    ),
    "The long context beta is not yet available for this subscription": (
        *(400, INVALID),
        "The long context beta is not yet available for this subscription.",
    ),
    "invalid x-api-key": (401, "authentication_error", ""),
    "OAuth token has expired": (
        *(401, "authentication_error"),
        "OAuth token has expired. Please obtain a new token or refresh your existing "
        "token.",
    ),
    "OAuth token has been revoked": (
        *(403, "permission_error"),
        "OAuth token has been revoked. Please obtain a new token.",
    ),
    "OAuth authentication is currently not allowed for this organization": (
        *(403, "permission_error"),
        "OAuth authentication is currently not allowed for this organization.",
    ),
    "This organization has been disabled": (
        *(400, INVALID),
        "This organization has been disabled.",
    ),
    "Internal server error": (500, "api_error", ""),
    "Request timed out": (504, "timeout_error", ""),
}
# What the CLI says itself of a plan's limits, and the provider's name for the limit.
USED_UP = {
    "You've hit your 5-hour limit": "five_hour",
    "You've hit your weekly limit": "seven_day",
}
TABLE = {
    words.strip("` "): (int(status), code.strip("`"))
    for words, status, code, _ in rows(DOCS / "errors.md", "refusals")
}
