"""The keys of a database: the vault they make, and the check that they are those of this database.

The hash key is the database's own and never changes, for what was hashed exists in no other form. It stands in `meta`,
sealed with the `pii_key` where there is one. So the `pii_key` can be changed: the hash key is sealed anew when the
database is opened with the new one, the rows are (`bridge.store.sealed`) while it is in use. In between `meta` names
the key that rows may be sealed with still, and without it the database is not opened.

    hash_check       tells a wrong hash key, and nothing else
    hash_key         the hash key, where there is no pii_key
    sealed_hash_key  the hash key, where there is one
    rotating_from    the name of the former key (`bridge.pii.key_name`; empty: none), until all rows are sealed anew

Databases that were made with a pii_key before it could be changed have the check alone; their hash key is derived from
that key, and is sealed like the others when they are opened.
"""

from __future__ import annotations

import secrets

from msgspec import Struct

from bridge.errors import StoreError
from bridge.pii import SealedWith, Vault, cipher_key_of, hash_key_of, key_name
from bridge.store.tx import Job, Tx

__all__ = ["end_rotation", "is_rotating", "open_vault", "try_writing"]

_NO_KEY = ""  # the name of no key


class _Found(Struct, frozen=True):
    """The hash key of a database, and the name of the key that it is sealed with, or was derived from."""

    hash_key: bytes
    key: str


def open_vault(pii_key: str, former_key: str = "", *, read_only: bool = False) -> Job[Vault]:
    """A job that gives the vault; a new database gets its hash key by it. `former_key`: database.pii_key_old.

    It must be one transaction. Raises StoreError when the keys are others than those of this database.
    """

    async def job(tx: Tx) -> Vault:
        check = await _get(tx, "hash_check")
        found = await (_find_sealed(tx, pii_key, former_key, check) if pii_key else _find_plain(tx, check))
        if found is None:
            if read_only:
                raise StoreError(
                    "The database has no keys yet: run bridge db migrate, or start bridge serve."
                )
            found = _Found(secrets.token_bytes(32), _name(pii_key))
        vault = Vault(
            found.hash_key,
            cipher_key_of(pii_key) if pii_key else None,
            cipher_key_of(former_key) if former_key else None,
        )
        if check is not None and check != vault.check_value:
            raise _another_key()
        await _refuse_what_a_third_key_sealed(tx, {_NO_KEY, _name(pii_key), _name(former_key)})
        if not read_only:
            await _keep(tx, vault, found)
        return vault

    return job


async def try_writing(tx: Tx) -> None:
    """Changes a row that means nothing: a transaction that changes nothing would succeed on a full disk, too."""
    await tx.run("set_meta", key="tried", value=secrets.token_bytes(8))


async def is_rotating(tx: Tx) -> bool:
    """Whether there is a key, and rows may be sealed with another one, or with none."""
    if not tx.vault.encrypts:
        return False
    hash_key = await _get(tx, "sealed_hash_key")
    if hash_key is None or tx.vault.sealed_with(hash_key) is not SealedWith.PRESENT:
        return True  # it was opened to read only, and nobody with these keys has written yet
    return await _get(tx, "rotating_from") is not None


async def end_rotation(tx: Tx) -> None:
    """From now on the present key alone opens the database: every row was found to be sealed with it."""
    await tx.run("set_meta", key="sealed_hash_key", value=tx.vault.seal_hash_key())
    await tx.run("delete_meta", key="rotating_from")


async def _find_sealed(tx: Tx, pii_key: str, former_key: str, check: bytes | None) -> _Found | None:
    sealed = await _get(tx, "sealed_hash_key")
    if sealed is not None:
        return _open(sealed, pii_key, former_key)
    plain = await _get(tx, "hash_key")
    if plain is not None:
        return _Found(plain, _NO_KEY)
    if check is None:
        return None
    for key in (pii_key, former_key):
        if key and Vault(hash_key_of(key)).check_value == check:
            return _Found(hash_key_of(key), _name(key))
    raise _another_key()


def _open(sealed: bytes, pii_key: str, former_key: str) -> _Found:
    for key in (pii_key, former_key):
        if key:
            vault = Vault(b"", cipher_key_of(key))
            if vault.sealed_with(sealed) is SealedWith.PRESENT:
                return _Found(vault.open(sealed), vault.key_name)
    raise _another_key()


async def _find_plain(tx: Tx, check: bytes | None) -> _Found | None:
    plain = await _get(tx, "hash_key")
    if plain is not None:
        return _Found(plain, _NO_KEY)
    if check is not None:  # it was made with a pii_key
        raise _another_key()
    return None


async def _refuse_what_a_third_key_sealed(tx: Tx, known: set[str]) -> None:
    former = await _get(tx, "rotating_from")
    if former is not None and former.decode() not in known:
        raise StoreError(
            "database.pii_key was changed, and rows are sealed with the former key still: set database.pii_key_old to "
            "that key, and run bridge keys rotate to its end."
        )


async def _keep(tx: Tx, vault: Vault, found: _Found) -> None:
    """Writes what is not as it has to be."""
    if await _get(tx, "hash_check") is None:
        await tx.run("set_meta", key="hash_check", value=vault.check_value)
    if not vault.encrypts:
        if await _get(tx, "hash_key") is None:
            await tx.run("set_meta", key="hash_key", value=found.hash_key)
    elif found.key != vault.key_name or await _get(tx, "sealed_hash_key") is None:
        await tx.run("set_meta", key="sealed_hash_key", value=vault.seal_hash_key())
        if found.key != vault.key_name:
            await tx.run("set_meta", key="rotating_from", value=found.key.encode())
        await tx.run("delete_meta", key="hash_key")


def _name(pii_key: str) -> str:
    return key_name(cipher_key_of(pii_key)) if pii_key else _NO_KEY


def _another_key() -> StoreError:
    return StoreError(
        "database.pii_key is not the one that this database was made with: set the former key again. To change it, set "
        "the new key, and database.pii_key_old to the former one (from a key there is no way back to none)."
    )


async def _get(tx: Tx, key: str) -> bytes | None:
    row = await tx.one("get_meta", key=key)
    return row[0] if row else None
