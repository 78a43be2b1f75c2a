"""Finds the reader for a location: a file, a folder, or standard input."""

import os
from collections.abc import Sequence
from pathlib import Path

from kalm_reranker.errors import DataFileError, InvalidOptionError, shown
from kalm_reranker.index.sources.characters import printable
from kalm_reranker.index.sources.columns import named_columns
from kalm_reranker.index.sources.csv_file import CsvFile
from kalm_reranker.index.sources.fields import ID_FIELDS
from kalm_reranker.index.sources.folder import Folder, TextFile
from kalm_reranker.index.sources.json_lines import JsonLines
from kalm_reranker.index.sources.parquet_file import ParquetFile
from kalm_reranker.index.sources.record import Source
from kalm_reranker.index.sources.streams import ByteStream, FileStream, StandardInput
from kalm_reranker.index.sources.tsv import Tsv
from kalm_reranker.lines import existing_file, is_gzip, reading

FORMATS = ("auto", "jsonl", "beir", "tsv", "csv", "parquet", "folder")

_STDIN = "-"
_STREAMED = ("jsonl", "tsv", "csv")
_WITH_COLUMNS = ("tsv", "csv")
_OF_DIRECTORIES = ("beir", "folder")
# Not .txt: elsewhere that is a passage a line, and a guess would be silent.
_ONE_PASSAGE = (".md", ".markdown")
_BEIR_ID_FIELDS = ("_id", *(name for name in ID_FIELDS if name != "_id"))
_BY_SUFFIX = {".jsonl": "jsonl", ".ndjson": "jsonl", ".tsv": "tsv", ".csv": "csv"}


def open_source(
    location: str, *, format: str = "auto", columns: Sequence[str] | None = None
) -> Source:
    """Returns the passages at a location; they are read when it is iterated.

    Args:
        location: A file, a directory, or "-" for standard input.
        format: One of `FORMATS`. With "auto" the name tells: .jsonl, .ndjson, .tsv and .csv (each
            also with .gz), .parquet, and .md for a text that is one passage; a directory with
            corpus.jsonl is in BEIR form, any other
            is a folder of text files; standard input holds JSON lines.
        columns: Names of the columns of a TSV or CSV file, in their order; "" or "-" drops one.
            They go before those of a header.

    Raises:
        DataFileError: There is nothing there, or nothing that can be read.
        InvalidOptionError: The format is unknown, or the columns do not name an id and a text.
        MissingExtraError: It is a parquet file, and pyarrow is not installed.
    """
    if format not in FORMATS:
        raise InvalidOptionError(f"format must be one of {', '.join(FORMATS)}; got {format!r}.")
    location = os.fspath(location)
    kind = _stdin_format(format) if location == _STDIN else _format_at(location, format)
    names = _checked_columns(columns, kind)
    path = Path(location)
    if kind == "parquet":
        return ParquetFile(path)
    if kind == "folder":
        return Folder(path)
    if kind == "text":
        return TextFile(path)
    if kind == "beir":
        return JsonLines(FileStream(_corpus(path)), id_fields=_BEIR_ID_FIELDS)
    stream: ByteStream = StandardInput() if location == _STDIN else FileStream(path)
    if kind == "tsv":
        return Tsv(stream, names)
    if kind == "csv":
        return CsvFile(stream, names)
    return JsonLines(stream)


def _stdin_format(format: str) -> str:
    if format == "auto":
        return "jsonl"
    if format not in _STREAMED:
        raise DataFileError(
            f"standard input holds {', '.join(_STREAMED[:-1])} or {_STREAMED[-1]}; got the format "
            f"{format}.",
            hint="Name the file or the directory.",
        )
    return format


def _format_at(location: str, format: str) -> str:
    """Returns the format of what is there; the one that was asked for, if there is one.

    Raises:
        DataFileError: There is nothing, or something the format does not fit, or no name tells.
    """
    name = printable(location)
    with reading(name or "''"):
        try:
            os.stat(location)
        except ValueError as error:  # a NUL, or a surrogate that stands for no byte
            raise DataFileError(f"{shown(location)} is no path: {error}.") from error
        path = Path(location)
        is_directory = path.is_dir()
        if format == "auto":
            if is_directory:
                return "folder" if existing_file(path / "corpus.jsonl") is None else "beir"
            return _format_by_name(path, name)
    if is_directory and format not in _OF_DIRECTORIES:
        raise DataFileError(
            f"{name} is a directory; the format {format} is for files.",
            hint="Name a file in it, or use the format folder or beir.",
        )
    if not is_directory and format in _OF_DIRECTORIES:
        raise DataFileError(
            f"{name} is no directory; the format {format} is for directories.",
            hint="Name the directory it is in, or leave the format to the file's name.",
        )
    return format


def _format_by_name(path: Path, name: str) -> str:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return "parquet"
    if is_gzip(path):
        suffix = path.with_suffix("").suffix.lower()
    if suffix == ".json":
        raise DataFileError(
            f"{name}: a JSON document is not read line by line.",
            hint="Write one object per line and name the file .jsonl.",
        )
    if suffix in _ONE_PASSAGE:
        return "text"
    if suffix not in _BY_SUFFIX:
        raise DataFileError(
            f"{name}: the name does not tell the format.",
            hint="Use a file that ends in .jsonl, .ndjson, .tsv or .csv (each also with .gz), in "
            ".parquet or .md, name the folder of .txt files, or say which format it is: "
            f"{', '.join(FORMATS[1:])}.",
        )
    return _BY_SUFFIX[suffix]


def _corpus(directory: Path) -> Path:
    corpus = existing_file(directory / "corpus.jsonl")
    if corpus is None:
        raise DataFileError(
            f"{printable(str(directory))} holds no corpus.jsonl (or corpus.jsonl.gz).",
            hint="A BEIR directory has one; use the format folder for a folder of text files.",
        )
    return corpus


def _checked_columns(columns: Sequence[str] | None, kind: str) -> tuple[str, ...] | None:
    """Returns the names of the columns, "" for those to drop.

    Raises:
        InvalidOptionError: They are no names, name no id and text, or are for another format.
    """
    if columns is None:
        return None
    if kind not in _WITH_COLUMNS:
        raise InvalidOptionError(
            f"columns are for {' and '.join(_WITH_COLUMNS)} files; this is {kind}.",
            hint="Leave them out.",
        )
    if isinstance(columns, str) or not all(isinstance(column, str) for column in columns):
        raise InvalidOptionError(f"columns must be a list of strings; got {shown(columns)}.")
    names = tuple("" if column == "-" else column for column in columns)
    try:
        named_columns(names, "columns")
    except DataFileError as error:
        raise InvalidOptionError(error.message, hint=error.hint) from error
    return names
