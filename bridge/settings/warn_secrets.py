"""What is odd about secrets: samples that were left, variables that are none, quotation marks, one for two doors.

Pure. No sentence holds a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from bridge.secret import Secret
from bridge.settings.model import RevicomSettings, SendgridSettings, Settings, SmtpSettings
from bridge.settings.problems import join

__all__ = ["odd_secrets", "written_secrets"]

_SAMPLE = re.compile(
    r"<.*>|\.{3,}|…|x{3,}|\*{3,}|.*(change[-_ ]?(me|this)|your[-_ ]|placeholder|replace[-_ ]?(me|this)|insert[-_ ]).*"
    r"|(my[-_ ]?)?(secret|password|passwort|token|api[-_ ]?key|key|test|demo|todo)",
    re.IGNORECASE,
)
_REFERENCE = re.compile(r"\$\w+|\$\(.*\)|%\w+%|\{\{.*\}\}|<%.*%>")  # of a shell, of Windows, of templates
_QUOTED = re.compile(r"(['\"]).*\1")
_SHORT = 8  # characters; shorter ones can be tried one by one
_SHARED = ".callback_password"
_Named = tuple[str, Secret]


def odd_secrets(settings: Settings) -> Iterator[str]:
    """One sentence for each secret that is not what it should be."""
    presented, asked = list(_presented(settings)), list(_asked(settings))
    for key, secret in presented + asked:
        text = secret.reveal()
        if _SAMPLE.fullmatch(text) and not _REFERENCE.fullmatch(text):
            yield f"{key}: this looks like a sample: write the real one."
        elif _REFERENCE.fullmatch(text):
            yield f"{key}: this is taken as it stands: write ${{NAME}} for a variable of the environment."
        elif _QUOTED.fullmatch(text):
            yield f"{key}: quotation marks are a part of it (an env file of Docker keeps them): take them out."
    for place, (key, secret) in enumerate(asked):
        text = secret.reveal()
        if len(text) < _SHORT and not _SAMPLE.fullmatch(text):
            yield f"{key}: it is short enough to be guessed: make a long one, as openssl rand -hex 24 does."
        others = presented + asked[:place]
        if key.endswith(_SHARED):  # two providers have one where both take it from the same variable
            others = [each for each in others if not each[0].endswith(_SHARED)]
        twin = next((other for other, known in others if known == secret), None)
        if twin:
            yield f"{key}: it is the same as {twin}: who knows the one knows the other, so give each its own."


def written_secrets(settings: Settings) -> Iterator[Secret]:
    """Every secret that has a key of its own, however it came there."""
    yield from (secret for _, secret in (*_presented(settings), *_asked(settings)))
    database = settings.database
    yield from (key for key in (database.pii_key, database.pii_key_old) if key)
    if not database.is_sqlite:
        yield database.url


def _presented(settings: Settings) -> Iterator[_Named]:
    """What the bridge shows to others."""
    named: list[_Named] = [("smartico.api_key", settings.smartico.api_key)]
    for name, gateway in settings.gateways.items():
        named.append((f"{join('gateways', name)}.api_key", gateway.api_key))
    for name, provider in settings.providers.items():
        path = join("providers", name)
        if isinstance(provider, RevicomSettings | SendgridSettings):
            named.append((f"{path}.token", provider.token))
        if isinstance(provider, SmtpSettings):
            named.append((f"{path}.password", provider.password))
    yield from ((key, secret) for key, secret in named if secret)


def _asked(settings: Settings) -> Iterator[_Named]:
    """What others have to show to the bridge."""
    for name, provider in settings.providers.items():
        if provider.callback_password:
            yield f"{join('providers', name)}.callback_password", provider.callback_password
    for name, gateway in settings.gateways.items():
        yield from _listed(f"{join('gateways', name)}.authorization", gateway.authorization)
    if settings.communications is not None:
        yield from _listed("communications.authorization", settings.communications.authorization)
    for place, operator in enumerate(settings.ops.operators):
        yield f"ops.operators[{place}].token", operator.token


def _listed(key: str, secrets: tuple[Secret, ...]) -> Iterator[_Named]:
    yield from ((f"{key}[{place}]", secret) for place, secret in enumerate(secrets))
