"""The CSV file of an import: read row by row, each row either a checked contact or a rejection with its reason."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import TextIO

from msgspec import Struct

from bridge.errors import BridgeError
from bridge.flows.directory import ContactDraft, check

__all__ = ["ContactFile", "RejectedFile", "RejectedRow", "open_contacts", "rejected_path"]

_REQUIRED = ("ext_user_id", "phone", "email")
_OPTIONAL = ("opted_out", "reason")  # `reason`: a mended file of rejected rows can be imported as it is
_OPEN_ALL = "-"


class RejectedRow(Struct, frozen=True):
    """A row that is no contact. Bytes that are no UTF-8 are kept as lone surrogates, and written back as they were."""

    cells: list[str]
    reason: str


@contextmanager
def open_contacts(path: Path, default_region: str) -> Iterator[ContactFile]:
    """Opens a file for one reading. Raises BridgeError where it cannot be read, or its header is wrong."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise BridgeError(f"{path} cannot be read ({error.strerror}): name a CSV file.") from None
    with file:
        yield ContactFile(path, file, default_region)


class ContactFile:
    """The rows of an open file."""

    def __init__(self, path: Path, file: BufferedReader, default_region: str) -> None:
        self._file = file
        self._region = default_region
        text = TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
        self._reader = csv.reader(text)
        header = self._read_header()
        self._names = [name.strip().lower() for name in header]
        self._check_header(path)
        self._reason_at = self._names.index("reason") if "reason" in self._names else -1
        self.header = self._without_reason(header)
        self.size = path.stat().st_size

    def _read_header(self) -> list[str]:
        try:
            return next(self._reader, [])
        except csv.Error:
            return []

    def _check_header(self, path: Path) -> None:
        unknown = [name for name in self._names if name not in _REQUIRED + _OPTIONAL]
        missing = [name for name in _REQUIRED if name not in self._names]
        if unknown or missing or len(set(self._names)) < len(self._names):
            raise BridgeError(
                f"{path} has the wrong header: its first line must name {', '.join(_REQUIRED)} and, if wanted, "
                "opted_out, each once, with commas between."
            )

    @property
    def read_bytes(self) -> int:
        """How much was read so far; somewhat ahead of the rows."""
        return self._file.tell()

    def __iter__(self) -> Iterator[ContactDraft | RejectedRow]:
        while True:
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:  # the reader goes on with the next line
                yield RejectedRow([], f"the row cannot be read ({error})")
            else:
                if cells:
                    yield self._judge(cells)

    def _judge(self, cells: list[str]) -> ContactDraft | RejectedRow:
        judged = self._misshapen(cells) or self._check(dict(zip(self._names, cells, strict=True)))
        return RejectedRow(self._without_reason(cells), judged) if isinstance(judged, str) else judged

    def _misshapen(self, cells: list[str]) -> str:
        if len(cells) != len(self._names):
            return f"{len(cells)} columns instead of {len(self._names)}"
        if any("\udc80" <= sign <= "\udcff" for cell in cells for sign in cell):
            return "it is no UTF-8"
        if any("\n" in cell or "\r" in cell for cell in cells):
            return "a cell holds a line break: perhaps a quote is not closed"
        return ""

    def _check(self, row: dict[str, str]) -> ContactDraft | str:
        opted_out = row.get("opted_out", "").split() or None
        channels = [] if opted_out == [_OPEN_ALL] else opted_out
        return check(row["ext_user_id"], row["phone"], row["email"], channels, self._region)

    def _without_reason(self, cells: list[str]) -> list[str]:
        return [cell for number, cell in enumerate(cells) if number != self._reason_at]


def rejected_path(path: Path) -> Path:
    """people.csv: people.rejected.csv, beside it."""
    return path.with_name(f"{path.name.removesuffix('.csv')}.rejected.csv")


class RejectedFile:
    """Where rejected rows go. Made with the first one, in place of an older file; readable by its owner only."""

    def __init__(self, path: Path, header: list[str]) -> None:
        self.path = path
        self.count = 0
        self._header = header
        self._file: TextIO | None = None

    def add(self, row: RejectedRow) -> None:
        """Raises BridgeError where it cannot be written."""
        try:
            self._file = self._file or self._open()
            csv.writer(self._file).writerow([row.reason, *row.cells])
        except OSError as error:
            raise self._unwritable(error) from None
        self.count += 1

    def _open(self) -> TextIO:
        self.path.unlink(missing_ok=True)
        self.path.touch(mode=0o600, exist_ok=False)
        file = self.path.open("w", encoding="utf-8", errors="surrogateescape", newline="")
        # The reason stands first, so that it stays in its column however many cells a row has.
        csv.writer(file).writerow(
            ["reason", *(name for name in self._header if name.strip().lower() != "reason")]
        )
        return file

    def close(self) -> None:
        """Raises BridgeError where the last rows cannot be written."""
        try:
            if self._file:
                self._file.close()
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> BridgeError:
        return BridgeError(f"{self.path} cannot be written ({error.strerror}): make room for it.")
