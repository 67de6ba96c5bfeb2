"""Asks the operator's platform for a contact, where `contacts.source` says that it has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.errors import BridgeError

if TYPE_CHECKING:
    from bridge.contacts import Answer
    from bridge.settings import Settings
    from bridge.store.contacts import Contact

__all__ = ["ask_platform", "look_up"]


async def ask_platform(settings: Settings, ext_user_id: str) -> Contact | None:
    """What the platform says of a user; None where it knows nobody, or is not to be asked. Raises BridgeError."""
    from bridge.contacts import Away, Known, UnknownUser
    from bridge.store.contacts import Contact

    if settings.contacts.source != "http":
        return None
    match await look_up(settings, ext_user_id):
        case Known(phone, email):
            return Contact(ext_user_id, phone, email)
        case UnknownUser():
            return None
        case Away(reason):
            raise BridgeError(
                f"The operator's platform cannot be asked ({reason}): check contacts.http in {settings.file}."
            )


async def look_up(settings: Settings, ext_user_id: str) -> Answer:
    """One question to the platform; contacts.source must be http."""
    from bridge.assembly import build_directory
    from bridge.contacts import UnknownUser, build_lookup, read_lookup
    from bridge.transport import ProviderTransport

    directory = build_directory(settings)
    assert directory is not None
    request = build_lookup(directory, ext_user_id)
    if isinstance(request, UnknownUser):
        return request
    transport = ProviderTransport(1)
    try:
        return read_lookup(directory, await transport.exchange(request))
    finally:
        await transport.close()
