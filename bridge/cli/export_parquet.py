"""Rows into a Parquet file. The only module that knows pyarrow, which comes with `bridge[parquet]`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from bridge.errors import BridgeError
from bridge.flows.exporting import NUMBERS
from bridge.store.tx import Row

__all__ = ["ParquetSink", "require_pyarrow"]

_GROUP = 20_000  # rows that are written together; so many are in memory


def require_pyarrow() -> None:
    """Raises BridgeError where it is missing."""
    try:
        import pyarrow.parquet  # noqa: F401 - is it there?
    except ImportError:
        raise BridgeError(
            'Parquet needs pyarrow, which is not installed: pip install "bridge[parquet]", or use --format csv.'
        ) from None


class ParquetSink:
    """A column is of whole numbers (64 bits) or of text, as `NUMBERS` says; times and money are text as elsewhere."""

    def __init__(self, file: BinaryIO, columns: Sequence[str]) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        self._arrow = pa
        fields = [pa.field(name, pa.int64() if name in NUMBERS else pa.string()) for name in columns]
        self._schema = pa.schema(fields)
        self._writer = parquet.ParquetWriter(file, self._schema, compression="snappy")
        self._rows: list[Row] = []

    def add(self, rows: Sequence[Row]) -> None:
        self._rows += rows
        if len(self._rows) >= _GROUP:
            self._write()

    def close(self) -> None:
        """Writes what waits, and the end, without which nobody can read the file."""
        if self._rows:
            self._write()
        self._writer.close()

    def _write(self) -> None:
        arrays = [
            self._arrow.array(values, type=field.type)
            for values, field in zip(zip(*self._rows, strict=True), self._schema, strict=True)
        ]
        self._rows = []
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))
