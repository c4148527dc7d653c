from __future__ import annotations

import os

import pytest

from gleitzeitd.errors import ParameterInvalid
from gleitzeitd.providers.llm_files import Files, image_in, image_of, is_image


@pytest.fixture
def files(tmp_path) -> Files:
    return Files.within([str(tmp_path)], 100, {})


def test_a_text_is_read_without_its_mark(files, tmp_path) -> None:
    (tmp_path / "a").write_bytes("\ufeffgrüße".encode())
    assert files.text(str(tmp_path / "a")) == "grüße"


@pytest.mark.parametrize(
    ("data", "problem"), [(b"x" * 101, "larger"), (b"\xff\xfe", "no UTF-8"), (b"a\0b", "no text")]
)
def test_what_cannot_be_a_prompt_is_refused(files, tmp_path, data, problem) -> None:
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(ParameterInvalid, match=problem):
        files.text(str(tmp_path / "a"))


def test_only_files_in_the_named_directories_are_read(files, tmp_path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    for path in ("/etc/hostname", str(tmp_path / "link"), f"{tmp_path}/../../../etc/hostname"):
        with pytest.raises(ParameterInvalid):
            files.text(path)


@pytest.mark.parametrize("path", ["/dev/zero", "/proc/self/environ", "/sys/kernel/uevent_seqnum"])
def test_what_the_kernel_shows_is_never_read(path) -> None:
    with pytest.raises(ParameterInvalid):
        Files.within([], 100, {}).text(path)


def test_a_pipe_without_a_writer_is_not_waited_for(files, tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ParameterInvalid, match="no file"):
        files.text(str(tmp_path / "pipe"))


def test_what_is_not_there_is_named(files, tmp_path) -> None:
    for path in (str(tmp_path / "none"), str(tmp_path), "a\0b"):
        with pytest.raises(ParameterInvalid):
            files.text(path)


def test_a_pattern_stays_in_its_directory(files, tmp_path) -> None:
    (tmp_path / "a.txt").write_text("x")
    assert files.below(str(tmp_path), "*.txt") == [str(tmp_path / "a.txt")]
    for pattern in ("../*", "/etc/*", "*.png"):
        with pytest.raises(ParameterInvalid):
            files.below(str(tmp_path), pattern)


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"\xff\xd8\xff", "jpeg"),
        (b"GIF89a", "gif"),
        (b"RIFF0000WEBP", "webp"),
        (b"BM", "bmp"),
        (b"II*\0", "tiff"),
    ],
)
def test_the_kind_of_an_image_is_what_it_begins_with(start, kind) -> None:
    image = image_of(start + b"...", "x")
    assert image.kind == f"image/{kind}"
    assert image_in(image.base64(), "x") == image
    assert image_in(f"data:image/{kind};base64,{image.base64().rstrip('=')}", "x") == image


def test_a_name_says_whether_it_is_an_image() -> None:
    assert is_image("/a/B.PNG")
    assert not is_image("/a/b.txt")
