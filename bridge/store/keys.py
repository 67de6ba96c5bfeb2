"""The vault of a database: its keys, and the check that `pii_key` is the one it was made with."""

from __future__ import annotations

import secrets

from bridge.errors import StoreError
from bridge.pii import Vault
from bridge.store.tx import Job, Tx

__all__ = ["open_vault", "try_writing"]


def open_vault(pii_key: str) -> Job[Vault]:
    """A job that gives the vault. Without a pii_key the hash key is made once and kept in the database.

    Raises StoreError when the key is another one than that of this database.
    """

    async def job(tx: Tx) -> Vault:
        vault = Vault.from_pii_key(pii_key) if pii_key else Vault(await _own_hash_key(tx))
        known = await _get(tx, "hash_check")
        if known is None:
            await tx.run("set_meta", key="hash_check", value=vault.check_value)
        elif known != vault.check_value:
            raise StoreError(
                "database.pii_key is not the one that this database was made with: set the former key again "
                "(none, if there was none)."
            )
        return vault

    return job


async def try_writing(tx: Tx) -> None:
    """Changes a row that means nothing: a transaction that changes nothing would succeed on a full disk, too."""
    await tx.run("set_meta", key="tried", value=secrets.token_bytes(8))


async def _own_hash_key(tx: Tx) -> bytes:
    key = await _get(tx, "hash_key")
    if key is None:
        key = secrets.token_bytes(32)
        # Set only with the check value missing too: a database made with a pii_key has no hash key of its own.
        if await _get(tx, "hash_check") is None:
            await tx.run("set_meta", key="hash_key", value=key)
    return key


async def _get(tx: Tx, key: str) -> bytes | None:
    row = await tx.one("get_meta", key=key)
    return row[0] if row else None
