"""Personal data: keyed hashes, encryption, normal forms, and masks that give no more away than they say."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import BridgeError
from bridge.pii import (
    SealedWith,
    Vault,
    cipher_key_of,
    key_name,
    mask_email,
    mask_phone,
    normalise_email,
    normalise_phone,
)

KEY = b64encode(bytes(range(32))).decode()
OTHER_KEY = b64encode(bytes(range(1, 33))).decode()
PHONE = "+447700900123"

DOTS = "•••••"


@pytest.fixture(params=["", KEY], ids=["plain", "encrypted"])
def vault(request: pytest.FixtureRequest) -> Vault:
    """A vault without and with a pii_key."""
    return Vault.from_pii_key(request.param) if request.param else Vault(b"a hash key of the database")


# --- the vault ---


def test_what_is_sealed_can_be_opened(vault: Vault) -> None:
    """Bytes and texts come back as they were, empty ones and odd ones too."""
    for clear in (b"", b"\x00", b"\x01", bytes(range(256)), PHONE.encode() * 1000):
        assert vault.open(vault.seal(clear)) == clear
    for text in ("", PHONE, "Grüße 😀", "\x00"):
        assert vault.open_text(vault.seal_text(text)) == text


def test_with_a_key_nothing_is_readable() -> None:
    """Sealed bytes hold no part of the clear text, and the same text never looks the same."""
    vault = Vault.from_pii_key(KEY)
    sealed = [vault.seal(PHONE.encode()) for _ in range(500)]
    assert vault.encrypts
    assert all(PHONE.encode()[1:7] not in each for each in sealed)
    assert len(set(sealed)) == len(sealed)


def test_a_nonce_never_repeats() -> None:
    """Every sealing draws its own 96 bits, as AES-GCM must have it."""
    vault = Vault.from_pii_key(KEY)
    assert len({vault.seal(b"x")[1:13] for _ in range(5000)}) == 5000


def test_without_a_key_rows_are_plain() -> None:
    """Without a pii_key nothing is encrypted, and a version byte says so."""
    vault = Vault(b"key")
    assert not vault.encrypts
    assert vault.seal(b"text") == b"\x00text"


def test_plain_rows_stay_readable() -> None:
    """What was sealed without a key can be opened by a vault that has one: rows of both kinds stand side by side."""
    plain, keyed = Vault(b"key"), Vault.from_pii_key(KEY)
    assert keyed.open(plain.seal(b"text")) == b"text"


def test_a_missing_key_is_said() -> None:
    """An encrypted row without a key is answered with what to do, not with bytes."""
    sealed = Vault.from_pii_key(KEY).seal(b"text")
    with pytest.raises(BridgeError, match=r"set database\.pii_key"):
        Vault(b"key").open(sealed)


def test_another_key_is_said() -> None:
    """A row of another key is answered with a sentence that names the setting, and no key."""
    sealed = Vault.from_pii_key(KEY).seal(b"text")
    with pytest.raises(BridgeError) as caught:
        Vault.from_pii_key(OTHER_KEY).open(sealed)
    assert "database.pii_key is not the key" in caught.value.sentence
    assert KEY not in str(caught.value)
    assert OTHER_KEY not in str(caught.value)


@pytest.mark.parametrize("length", range(30))
def test_damaged_rows_are_said(length: int) -> None:
    """A sealed row cut short anywhere raises what an operator sees, not an error of the cipher."""
    sealed = Vault.from_pii_key(KEY).seal(b"t")
    assert len(sealed) == 30
    with pytest.raises(BridgeError):
        Vault.from_pii_key(KEY).open(sealed[:length])


@given(st.integers(0, 29), st.integers(1, 255))
def test_changed_rows_are_said(place: int, change: int) -> None:
    """A sealed row with one changed byte is never opened as encrypted text."""
    vault = Vault.from_pii_key(KEY)
    sealed = bytearray(vault.seal(b"t"))
    sealed[place] ^= change
    try:
        opened = vault.open(bytes(sealed))
    except BridgeError:
        return
    assert (place, change) == (0, 1)  # only the mark of a plain row says: this is no cipher text
    assert opened == bytes(sealed[1:])


def test_hashes_are_keyed() -> None:
    """The same address hashes alike under the same key and differently under another, so that no table helps."""
    first, second, other = Vault(b"one"), Vault(b"one"), Vault(b"two")
    assert first.hash(PHONE) == second.hash(PHONE)
    assert len(first.hash(PHONE)) == 16
    assert first.hash(PHONE) != other.hash(PHONE)
    assert first.hash(PHONE) != first.hash("+447700900124")


def test_a_check_value_tells_keys_apart() -> None:
    """Vaults that hash alike have the same check value, and it is not a hash of any address."""
    assert Vault.from_pii_key(KEY).check_value == Vault.from_pii_key(KEY).check_value
    assert Vault.from_pii_key(KEY).check_value != Vault.from_pii_key(OTHER_KEY).check_value


def test_each_use_has_a_key_of_its_own() -> None:
    """The key of the hashes, that of the cipher and the pii_key are three: one tells nothing of the others."""
    derived, raw = Vault.from_pii_key(KEY), Vault(bytes(range(32)), bytes(range(32)))
    assert derived.hash(PHONE) != raw.hash(PHONE)
    with pytest.raises(BridgeError):
        raw.open(derived.seal(b"text"))


def test_two_keys_open_and_one_seals() -> None:
    """While the key is changed, values of either key and plain ones can be opened; new ones are of the present key."""
    present, former = cipher_key_of(KEY), cipher_key_of(OTHER_KEY)
    vault = Vault(b"key", present, former)
    values = {
        SealedWith.PRESENT: vault.seal(b"text"),
        SealedWith.FORMER: Vault(b"", former).seal(b"text"),
        SealedWith.PLAIN: Vault(b"").seal(b"text"),
    }
    assert [vault.open(value) for value in values.values()] == [b"text"] * 3
    assert {vault.sealed_with(value): value for value in values.values()} == values
    assert Vault(b"", present).open(values[SealedWith.PRESENT]) == b"text"
    for unknown in (Vault(b"", bytes(32)).seal(b"text"), b"", b"\x02text", b"\x01"):
        assert vault.sealed_with(unknown) is SealedWith.UNKNOWN
        with pytest.raises(BridgeError):
            vault.open(unknown)


def test_keys_have_names() -> None:
    """A name tells keys apart and lasts; no key has none."""
    names = {key_name(cipher_key_of(KEY)), key_name(cipher_key_of(OTHER_KEY)), Vault(b"key").key_name}
    assert len(names) == 3
    assert "" in names
    assert Vault(b"key", cipher_key_of(KEY)).key_name == Vault.from_pii_key(KEY).key_name


def test_a_vault_shows_nothing_of_itself() -> None:
    """Printing a vault shows no key."""
    assert KEY not in repr(Vault.from_pii_key(KEY))
    assert str(bytes(range(32))) not in repr(vars(Vault.from_pii_key(KEY)))


# --- normal forms ---


@pytest.mark.parametrize(
    ("written", "region", "normal"),
    [
        (PHONE, "", PHONE),
        ("+44 7700 900123", "", PHONE),
        ("+44 (0)7700-900123", "", PHONE),
        ("  +44 7700 900 123 ", "", PHONE),
        ("0044 7700 900123", "GB", PHONE),
        ("07700 900123", "GB", PHONE),
        ("+14085553911", "GB", "+14085553911"),
        ("(408) 555-3911", "US", "+14085553911"),
        ("+44 7700 900123", "ZZ", PHONE),
    ],
)
def test_phone_numbers_in_one_form(written: str, region: str, normal: str) -> None:
    """However a number is grouped, it becomes the same E.164; a region helps numbers without a country code."""
    assert normalise_phone(written, region) == normal


@pytest.mark.parametrize(
    ("written", "region"),
    [
        ("", ""),
        ("+", ""),
        ("07700 900123", ""),
        ("447700900123", ""),
        ("07700 900123", "ZZ"),
        ("+44", ""),
        ("+44 770", ""),
        ("+447700900123456789", ""),
        ("+999 12345678", ""),
        ("nobody", "GB"),
        ("a@example.com", "GB"),
        ("\x00", "GB"),
        ("1" * 1000, "GB"),
        ("555-3911", "US"),  # a local number: nobody can be reached by it from elsewhere
        ("+1 555 3911", ""),
        ("+44 00 7700 900123", ""),  # of the zeros one goes each time that it is read
        (
            "4915112345678.0",
            "DE",
        ),  # a spreadsheet took the column for numbers: one more digit is somebody else
        ("+4915112345678.0", ""),
        (" 391234567890,00 ", "IT"),
    ],
)
def test_what_is_no_phone_number(written: str, region: str) -> None:
    """What cannot be dialled from abroad is none, and a number without a country is not guessed."""
    assert normalise_phone(written, region) is None


@given(st.text(max_size=40), st.sampled_from(["", "GB", "US"]))
def test_a_normal_form_is_stable(written: str, region: str) -> None:
    """Whatever is given, the result is E.164 or none, and normalising it again changes nothing."""
    normal = normalise_phone(written, region)
    if normal is not None:
        assert normal[0] == "+"
        assert normal[1:].isascii()
        assert normal[1:].isdigit()
        assert normalise_phone(normal) == normal


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("jane@example.com", "jane@example.com"),
        (" Jane.Doe+x@Example.COM ", "Jane.Doe+x@example.com"),
        ("jürgen@münchen.example", "jürgen@münchen.example"),
    ],
)
def test_addresses_in_one_form(written: str, normal: str) -> None:
    """An address is trimmed, its domain in lower case; the part before the @ is the owner's business."""
    assert normalise_email(written) == normal


@pytest.mark.parametrize(
    "written",
    [
        "",
        "@",
        "jane",
        "jane@",
        "@example.com",
        "jane@localhost",
        "jane@exam ple.com",
        "ja ne@example.com",
        "jane@example.com\r\nBcc: all@example.com",
        "jane\x00@example.com",
        "jane@example.com\u202e",
        "jane@.",
        "jane@example..com",
        "jane@.example.com",
        "jane@example.com.",
        "jane@doe@example.com",
    ],
)
def test_what_is_no_address(written: str) -> None:
    """What cannot be an address, or could break out of a header, is none."""
    assert normalise_email(written) is None


# --- masks ---


@pytest.mark.parametrize(
    ("number", "mask"),
    [
        (PHONE, f"+44{DOTS}0123"),
        ("+14085553911", f"+1{DOTS}3911"),
        ("+35212345", f"+352{DOTS}"),
        ("+290123456", f"+290{DOTS}"),
        ("447700900123", f"+{DOTS}0123"),
        ("", f"+{DOTS}"),
        ("+", f"+{DOTS}"),
        ("1234", f"+{DOTS}"),
    ],
)
def test_masked_phone_numbers(number: str, mask: str) -> None:
    """The country code and the last four digits are shown; of a short number only the country code."""
    assert mask_phone(number) == mask


@pytest.mark.parametrize(
    ("address", "mask"),
    [
        ("jane@example.com", f"j{DOTS}@example.com"),
        ("jane@doe@example.com", f"j{DOTS}@example.com"),
        ("@example.com", f"{DOTS}@example.com"),
        ("no address at all", DOTS),
        ("", DOTS),
    ],
)
def test_masked_addresses(address: str, mask: str) -> None:
    """The first character and the domain are shown; of what is no address nothing is."""
    assert mask_email(address) == mask


@given(st.from_regex(r"\+(44|1|49|33|7|358)[2-9][0-9]{6,12}", fullmatch=True))
def test_a_mask_of_a_number_shows_six_digits_at_most(number: str) -> None:
    """No number can be read from its mask: at least three digits of it are hidden."""
    shown = [char for char in mask_phone(number) if char.isdigit()]
    assert len(shown) <= len(number) - 1 - 3
    assert number not in mask_phone(number)


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_mask_of_an_address_hides_who_it_is(local: str, domain: str) -> None:
    """Of the part before the @ at most one character is shown, whatever its length."""
    mask = mask_email(f"{local}@{domain}")
    shown, _, _ = mask.rpartition(f"{DOTS}@")
    assert len(shown) <= 1
