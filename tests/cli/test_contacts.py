"""`bridge contacts`: importing, showing and erasing, on a database that nobody else uses."""

from __future__ import annotations

import csv
import stat
from pathlib import Path
from typing import Any

from tests.cli.conftest import Run

HEADER = b"ext_user_id,phone,email,opted_out\n"


def rejected(folder: Path) -> list[dict[str, Any]]:
    """What was put aside, by column."""
    path = folder / "people.rejected.csv"
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))


def write(folder: Path, *rows: bytes, header: bytes = HEADER) -> None:
    (folder / "people.csv").write_bytes(header + b"".join(row + b"\n" for row in rows))


def test_good_rows_are_imported_and_bad_ones_put_aside(bridge: Run, folder: Path) -> None:
    """Each bad row keeps its cells and gets its reason; the others are in the directory."""
    write(
        folder,
        b"anna,+447700900123,anna@Example.com,SMS whatsapp",
        b"ben,not a number,,",
        b"carl,+447700900124",
        b"dora,+447700900125,dora,",
        b",+447700900126,,",
        b"emil\xff,+447700900127,,",
        b'fred,+447700900128,,"',
        b"gina,+447700900129,,",
    )
    result = bridge("contacts", "import", "people.csv", "--json")
    assert result.code == 0
    assert result.json == {
        "valid": 1, "imported": 1, "rejected": 6, "rejected_file": "people.rejected.csv", "dry_run": False,
    }  # fmt: skip
    reasons = {row["ext_user_id"]: row["reason"] for row in rejected(folder)}
    assert reasons["ben"] == "phone is no number with a country code"
    assert reasons["carl"] == "2 columns instead of 4"
    assert reasons["dora"] == "email is no e-mail address"
    assert reasons[""] == "ext_user_id is empty"
    assert reasons["emil\udcff"] == "it is no UTF-8"
    assert "perhaps a quote is not closed" in reasons["fred"]
    assert stat.S_IMODE((folder / "people.rejected.csv").stat().st_mode) == 0o600
    shown = bridge("contacts", "show", "anna", "--json").json
    assert shown["phone"] == "+44•••••0123"
    assert shown["email"] == "a•••••@example.com"
    assert shown["opted_out"] == ["SMS", "WHATSAPP"]


def test_a_mended_file_of_rejected_rows_can_be_imported(bridge: Run, folder: Path) -> None:
    """Its column with the reasons is not in the way, also when a row is rejected again."""
    write(folder, b"anna,0,,", b"ben,1,,")
    assert bridge("contacts", "import", "people.csv").code == 0
    aside = folder / "people.rejected.csv"
    aside.write_text(aside.read_text().replace("anna,0", "anna,+447700900123"))
    result = bridge("contacts", "import", "people.rejected.csv", "--json").json
    assert (result["imported"], result["rejected"]) == (1, 1)
    again = (folder / "people.rejected.rejected.csv").read_text().splitlines()
    assert again[0] == "reason,ext_user_id,phone,email,opted_out"
    assert again[1].endswith(",ben,1,,")


def test_a_bom_any_order_and_no_opt_outs(bridge: Run, folder: Path) -> None:
    """What spreadsheets write is read: a byte order mark, CRLF, quotes, columns in another order."""
    write(folder, b'"","+1 415 555-0001","anna"\r', header=b"\xef\xbb\xbfEmail,Phone,ext_user_id\r\n")
    assert bridge("contacts", "import", "people.csv").out == "1 row imported; none rejected.\n"
    assert bridge("contacts", "show", "anna", "--json").json["phone"] == "+1•••••0001"
    assert not (folder / "people.rejected.csv").exists()


def test_the_last_of_several_rows_counts(bridge: Run, folder: Path) -> None:
    """Duplicates are no error."""
    write(folder, b"anna,+447700900123,,", b"anna,+447700900124,,")
    assert bridge("contacts", "import", "people.csv").code == 0
    assert bridge("contacts", "show", "anna", "--json").json["phone"] == "+44•••••0124"


def test_an_empty_opted_out_opens_nothing(bridge: Run, folder: Path) -> None:
    """Who said STOP stays opted out when a file says nothing about it; a single - opens the channels."""
    for cell, channels in ((b"SMS", ["SMS"]), (b"", ["SMS"]), (b"-", [])):
        write(folder, b"anna,+447700900123,," + cell)
        assert bridge("contacts", "import", "people.csv").code == 0
        assert bridge("contacts", "show", "anna", "--json").json["opted_out"] == channels


def test_a_dry_run_imports_nothing(bridge: Run, folder: Path) -> None:
    """It counts and puts bad rows aside, and does not even make the database."""
    write(folder, b"anna,+447700900123,,", b"ben,1,,")
    result = bridge("contacts", "import", "people.csv", "--dry-run")
    assert result.out == "1 rows are good, nothing was imported; 1 rejected, see people.rejected.csv.\n"
    assert not (folder / "bridge.db").exists()
    assert len(rejected(folder)) == 1


def test_many_rows_go_in_several_transactions(bridge: Run, folder: Path) -> None:
    """More than one chunk; in a pipe there is no bar, only lines."""
    write(folder, *(b"user%d,+1415555%04d,," % (number, number) for number in range(2500)))
    result = bridge("contacts", "import", "people.csv")
    assert result.out == "2,500 rows imported; none rejected.\n"
    assert result.err == ""
    assert bridge("contacts", "show", "user2499").code == 0


def test_a_giant_cell_costs_one_row(bridge: Run, folder: Path) -> None:
    """A row that cannot be read at all is put aside, and the reading goes on."""
    write(folder, b"anna,+447700900123,," + b"x" * 200_000, b"ben,+447700900124,,")
    result = bridge("contacts", "import", "people.csv", "--json").json
    assert (result["imported"], result["rejected"]) == (1, 1)


def test_wrong_files_are_refused_with_a_sentence(bridge: Run, folder: Path) -> None:
    """Missing, a folder, empty, another header, columns that nobody knows or that stand twice."""
    (folder / "empty.csv").touch()
    (folder / "other.csv").write_text("id;phone;email\n")
    (folder / "typo.csv").write_text("ext_user_id,phone,email,opted-out\n")
    (folder / "twice.csv").write_text("ext_user_id,phone,email,phone\n")
    for name in ("missing.csv", ".", "empty.csv", "other.csv", "typo.csv", "twice.csv"):
        result = bridge("contacts", "import", name)
        assert (result.code, result.out) == (1, ""), name
        assert "cannot be read" in result.err or "wrong header" in result.err
    assert not (folder / "bridge.db").exists()


def test_a_contact_is_erased(bridge: Run, folder: Path) -> None:
    """What was erased is said; afterwards nothing is known."""
    write(folder, b"anna,+447700900123,,SMS")
    bridge("contacts", "import", "people.csv")
    assert (
        "the contact anna and every address of it; unsent messages that ended as failed: 0; message texts: 0; "
        in (bridge("contacts", "delete", "anna").out)
    )
    assert bridge("contacts", "show", "anna").code == 1
    bridge("contacts", "import", "people.csv")
    assert bridge("contacts", "delete", "anna", "--json").json == {
        "messages_failed": 0, "texts": 0, "contact": True, "notifications": 0, "inbound": 0, "forwards": 0,
    }  # fmt: skip


def test_numbers_without_a_country_code_go_by_the_settings(bridge: Run, folder: Path) -> None:
    """contacts.default_region says which country is meant."""
    settings = folder / "bridge.toml"
    settings.write_text(settings.read_text() + '\n[contacts]\ndefault_region = "GB"\n')
    write(folder, b"anna,07700 900123,,")
    assert bridge("contacts", "import", "people.csv").out == "1 row imported; none rejected.\n"
