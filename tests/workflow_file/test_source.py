"""What is read of a file that somebody names, whatever it is."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from gleitzeitd.workflow_file.source import NoTextError, Unreadable, decoded, read_bounded


def test_no_more_than_one_byte_too_much_is_read(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_bytes(b"x" * 1000)
    assert read_bounded(path, 1000) == b"x" * 1000
    assert read_bounded(path, 10) == b"x" * 11
    assert read_bounded("/dev/zero", 300_000) == b"\0" * 300_001


def test_a_pipe_is_read_to_its_end_however_its_writer_pauses(tmp_path: Path) -> None:
    path, going_on = tmp_path / "pipe", threading.Event()
    os.mkfifo(path)

    def write() -> None:
        with path.open("wb", buffering=0) as pipe:
            pipe.write(b"a: 1\n")
            going_on.wait(10)
            pipe.write(b"b: 2\n" * 100_000)

    writer = threading.Thread(target=write)
    writer.start()
    threading.Timer(0.05, going_on.set).start()
    assert read_bounded(path, 10**7) == b"a: 1\n" + b"b: 2\n" * 100_000
    writer.join()


def test_a_pipe_that_nobody_writes_to_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Unreadable, match="a pipe that nobody writes to; start the writer first"):
        read_bounded(tmp_path / "pipe", 10)


@pytest.mark.parametrize(
    ("name", "why"),
    [(".", "this is a folder"), ("gone", "No such file or directory; check its name"), ("a\0b", "null byte")],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        read_bounded(tmp_path / name, 10)


@pytest.mark.parametrize(
    ("data", "why", "place"),
    [
        ("a".encode("utf-16"), "this is UTF-16; save it as UTF-8", (1, 1)),
        ("a".encode("utf-32"), "this is UTF-32; save it as UTF-8", (1, 1)),
        (b"a: 1\nb: \xff", "no UTF-8 text, found the byte 0xff; save it as UTF-8", (2, 4)),
    ],
)
def test_what_is_no_utf_8_is_said_with_its_place(data: bytes, why: str, place: tuple[int, int]) -> None:
    with pytest.raises(NoTextError) as problem:
        decoded(data)
    assert (str(problem.value), (problem.value.line, problem.value.column)) == (why, place)
    assert decoded(b"\xef\xbb\xbfa") == "a"
