"""Pure: what the simulated SendGrid accepts in POST /v3/mail/send.

Strict where SendGrid's pages "Mail Send" and "Errors" state a rule: the fields there are, personalizations
with `to`, a valid address once only, `from`, a subject, content with text/plain before text/html and no empty
value, custom_args and headers that hold strings, reserved headers, 10,000 bytes of custom_args. The wording
is that of the "Errors" page, or of the schema checker behind it, where known. Not looked at: the insides of
attachments, asm, mail_settings and tracking_settings. A check yields problems as (field, message).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

MAX_PERSONALIZATIONS = 1000
MAX_CUSTOM_ARGS_BYTES = 10_000
_HELP = "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html"
_FIELDS = frozenset(
    {
        *("personalizations", "from", "reply_to", "reply_to_list", "subject", "content", "attachments"),
        *("template_id", "sections", "headers", "categories", "custom_args", "send_at", "batch_id", "asm"),
        *("ip_pool_name", "mail_settings", "tracking_settings"),
    }
)
_PERSONAL_FIELDS = frozenset(
    {
        *("to", "cc", "bcc", "from", "subject", "headers", "substitutions", "dynamic_template_data"),
        *("custom_args", "send_at"),
    }
)
_RESERVED_HEADERS = frozenset(
    {
        *("x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding"),
        *("to", "from", "subject", "reply-to", "cc", "bcc"),
    }
)
_ADDRESS = re.compile(r"[^\s@<>\"(),:;\[\]\\]+@[^\s@<>\"(),:;\[\]\\_]+\.[^\s@<>\"(),:;\[\]\\._]+")
_CONTENT_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+")
_HEADER_NAME = re.compile(r"[!-9;-~]+")

Problems = Iterator["Problem"]


class Problem(NamedTuple):
    """One thing that is wrong. `field` is a path with dots; None: the request as a whole."""

    field: str | None
    message: str

    def as_json(self) -> dict[str, str | None]:
        """As it stands in the `errors` of an answer."""
        return {"message": self.message, "field": self.field, "help": _HELP if self.field else None}


def check_mail(body: Any) -> list[Problem]:
    """Everything that is wrong with a decoded request body."""
    if not isinstance(body, dict):
        return [Problem(None, "Bad Request")]
    return [
        *_unknown(body, _FIELDS, ""),
        *_check_personalizations(body),
        *_check_from(body.get("from")),
        *_check_reply_to(body),
        *_check_subject(body),
        *_check_content(body),
        *_check_strings(body, "custom_args", ""),
        *_check_headers(body, ""),
        *_check_categories(body.get("categories", [])),
    ]


def _unknown(value: Mapping[str, Any], known: frozenset[str], path: str) -> Problems:
    for name in sorted(set(value) - known):
        yield Problem(path, f"Additional property {name} is not allowed")


def _check_personalizations(body: Mapping[str, Any]) -> Problems:
    everybody = body.get("personalizations")
    if not isinstance(everybody, list) or not everybody:
        message = "The personalizations field is required and must have at least one personalization."
        yield Problem("personalizations", message)
    elif len(everybody) > MAX_PERSONALIZATIONS:
        yield Problem(
            "personalizations",
            "The personalization block is limited to 1000 personalizations per API request.",
        )
    else:
        for index, one in enumerate(everybody):
            yield from _check_personalization(one, f"personalizations.{index}")


def _check_personalization(one: Any, path: str) -> Problems:
    if not isinstance(one, dict):
        yield Problem(path, f"Invalid type. Expected: object, given: {kind_of(one)}.")
        return
    yield from _unknown(one, _PERSONAL_FIELDS, path)
    if not isinstance(one.get("to"), list) or not one["to"]:
        yield Problem(
            f"{path}.to",
            "The to array is required for all personalization objects, and must have at least one email"
            " object with a valid email address.",
        )
    seen: set[str] = set()
    for name in ("to", "cc", "bcc"):
        yield from _check_recipients(one.get(name, []), f"{path}.{name}", seen)
    yield from _check_strings(one, "custom_args", f"{path}.")
    yield from _check_headers(one, f"{path}.")


def _check_recipients(values: Any, path: str, seen: set[str]) -> Problems:
    for index, value in enumerate(values if isinstance(values, list) else [values]):
        problem = next(_check_address(value, f"{path}.{index}"), None)
        if problem:
            yield problem
        elif value["email"].lower() in seen:
            yield Problem(
                path,
                "Each email address in the personalization block should be unique between to, cc, and bcc."
                f" We found the first duplicate instance of [{value['email']}] in the {path} field.",
            )
        else:
            seen.add(value["email"].lower())


def _check_from(value: Any) -> Problems:
    if not isinstance(value, dict) or not value.get("email"):
        message = "The from object must be provided for every email send. It is an object that requires the"
        yield Problem("from.email", f"{message} email parameter, but may also contain a name parameter.")
    else:
        yield from _check_address(value, "from")


def _check_reply_to(body: Mapping[str, Any]) -> Problems:
    if "reply_to" in body:
        yield from _check_address(body["reply_to"], "reply_to")
    if "reply_to" in body and "reply_to_list" in body:
        yield Problem("reply_to", "The reply_to and reply_to_list parameters may not be used together.")


def _check_address(value: Any, path: str) -> Problems:
    if not isinstance(value, dict):
        yield Problem(path, f"Invalid type. Expected: object, given: {kind_of(value)}.")
        return
    yield from _unknown(value, frozenset({"email", "name"}), path)
    email, name = value.get("email"), value.get("name", "")
    if not isinstance(email, str) or not _ADDRESS.fullmatch(email):
        yield Problem(f"{path}.email", "Does not contain a valid address.")
    if not isinstance(name, str):
        yield Problem(f"{path}.name", f"Invalid type. Expected: string, given: {kind_of(name)}.")
    elif "\r" in name or "\n" in name:
        yield Problem(f"{path}.name", "Cannot contain CRLF characters.")


def _check_subject(body: Mapping[str, Any]) -> Problems:
    subject = body.get("subject")
    if isinstance(subject, str) and subject:
        if "\r" in subject or "\n" in subject:
            yield Problem("subject", "Cannot contain CRLF characters.")
    elif subject is not None and not isinstance(subject, str):
        yield Problem("subject", f"Invalid type. Expected: string, given: {kind_of(subject)}.")
    elif not _every_one_has_a_subject(body.get("personalizations")) and "template_id" not in body:
        message = "The subject is required. You can get around this requirement if you use a template with a"
        yield Problem(
            "subject", f"{message} subject defined or if every personalization has a subject defined."
        )


def _every_one_has_a_subject(everybody: Any) -> bool:
    objects = isinstance(everybody, list) and all(isinstance(one, dict) for one in everybody)
    return objects and bool(everybody) and all(one.get("subject") for one in everybody)


def _check_content(body: Mapping[str, Any]) -> Problems:
    content = body.get("content")
    if content is None and "template_id" in body:
        return
    if not isinstance(content, list) or not content:
        message = "Unless a valid template_id is provided, the content parameter is required."
        yield Problem("content", f"{message} There must be at least one defined content block.")
        return
    for index, one in enumerate(content):
        yield from _check_part(one, f"content.{index}")
    types = [one.get("type") for one in content if isinstance(one, dict)]
    for kind in ("text/plain", "text/html"):
        if types.count(kind) > 1:
            yield Problem("content", f"If present, {kind} may only be provided once.")
    wanted = [kind for kind in ("text/plain", "text/html") if kind in types]
    if types[: len(wanted)] != wanted:
        message = (
            "If present, text/plain must be first, followed by text/html, followed by any other content."
        )
        yield Problem("content", message)


def _check_part(one: Any, path: str) -> Problems:
    if not isinstance(one, dict):
        yield Problem(path, f"Invalid type. Expected: object, given: {kind_of(one)}.")
        return
    yield from _unknown(one, frozenset({"type", "value"}), path)
    kind, value = one.get("type"), one.get("value")
    if not isinstance(kind, str) or not _CONTENT_TYPE.fullmatch(kind):
        message = "A content type is required, this tells email clients how to display the email."
        yield Problem(f"{path}.type", message)
    if not isinstance(value, str) or not value:
        message = "The content value must be a string at least one character in length."
        yield Problem(f"{path}.value", message)


def _check_strings(holder: Mapping[str, Any], name: str, path: str) -> Problems:
    """An object whose values are strings, of at most 10,000 bytes."""
    values = holder.get(name, {})
    if not isinstance(values, dict):
        yield Problem(f"{path}{name}", f"Invalid type. Expected: object, given: {kind_of(values)}.")
        return
    for key, value in values.items():
        if not isinstance(value, str):
            yield Problem(f"{path}{name}.{key}", f"Invalid type. Expected: string, given: {kind_of(value)}.")
    if len(msgspec.json.encode(values)) > MAX_CUSTOM_ARGS_BYTES:
        message = "Substitutions/custom arguments/headers are limited to 10000 bytes in total."
        yield Problem(f"{path}{name}", message)


def _check_headers(holder: Mapping[str, Any], path: str) -> Problems:
    yield from _check_strings(holder, "headers", path)
    headers = holder.get("headers", {})
    for name, value in headers.items() if isinstance(headers, dict) else ():
        if name.lower() in _RESERVED_HEADERS:
            yield Problem(f"{path}headers.{name}", f"The header {name} is reserved and cannot be used.")
        elif not _HEADER_NAME.fullmatch(name):
            yield Problem(f"{path}headers", f"{name!r} is not a valid header name.")
        if isinstance(value, str) and ("\r" in value or "\n" in value):
            yield Problem(f"{path}headers.{name}", "Cannot contain CRLF characters.")


def _check_categories(values: Any) -> Problems:
    good = isinstance(values, list) and all(isinstance(one, str) and 0 < len(one) <= 255 for one in values)
    if not good:
        yield Problem("categories", "Categories must be an array of strings of 1 to 255 characters.")
    elif len(set(values)) < len(values) or len(values) > 10:
        yield Problem("categories", "Categories must be unique, and at most 10.")


def kind_of(value: Any) -> str:
    """JSON's word for the type of a decoded value, as the schema checker says it."""
    if value is None:
        return "null"
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
    return names.get(type(value), "number")
