"""The address of a message in the clear, for an operator who has to know it. Every look is audited."""

from __future__ import annotations

from bridge.core.model import MessageId, Millis, id_text
from bridge.store import audit, contacts, messages, sends
from bridge.store.contacts import Contact
from bridge.store.tx import Tx

__all__ = ["reveal"]


async def reveal(
    tx: Tx, message_id: MessageId, elsewhere: Contact | None, actor: str, reason: str, now: Millis
) -> str | None:
    """The phone number or e-mail address that the message went to; None: it is not known any more.

    It is kept with a message only until that is sent; after that the contact has it, unless that changed or was erased.
    `elsewhere`: what the operator's platform says of the user.
    """
    row = await tx.one("person_of_message", id=message_id)
    if row is None:
        return None
    ext_user_id, address_hash = row
    contact = elsewhere or await contacts.get_contact(tx, ext_user_id)
    send = await sends.get_send(tx, message_id)
    candidates = [send.destination] if send else []
    candidates += [each for each in (contact.phone, contact.email) if each] if contact else []
    found = next((each for each in candidates if each and tx.vault.hash(each) == address_hash), None)
    detail = {"message": id_text(message_id), "found": found is not None, "reason": reason}
    await audit.add_audit(tx, now, actor, "message.reveal", detail)
    await messages.add_step(tx, message_id, now, "revealed", reason, actor)
    return found
