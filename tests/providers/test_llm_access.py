from __future__ import annotations

import pytest

from gleitzeitd.errors import ConfigError, MalformedData
from gleitzeitd.providers.llm_access import BackendSettings, access_to, from_environment, ollama_address


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("127.0.0.1:11434", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("box", "http://box:11434"),
        (":8080", "http://127.0.0.1:8080"),
        ("http://box", "http://box:80"),
        ("https://box/ollama", "https://box:443/ollama"),
        ("[::1]:5", "http://[::1]:5"),
        ("[::]", "http://127.0.0.1:11434"),
        ("http://a:b@box:5", "http://a:b@box:5"),
    ],
)
def test_the_address_of_ollama_is_read_as_ollama_reads_it(value, url) -> None:
    assert ollama_address(value) == url


def test_variables_name_servers() -> None:
    assert from_environment({}) == []
    (only,) = from_environment({"OPENAI_API_KEY": "sk-123456789012"})
    assert (only.base_url, only.models) == ("https://api.openai.com/v1", ["*"])
    both = from_environment({"OLLAMA_HOST": "box", "OPENAI_BASE_URL": "http://h/v1"})
    assert [one.name for one in both] == ["ollama", "openai"]
    assert both[1].models[-1] == "*"
    with pytest.raises(ConfigError, match="OPENAI_BASE_URL"):
        from_environment({"OPENAI_BASE_URL": "nonsense"})


def test_an_address_shows_no_password() -> None:
    settings = BackendSettings(name="a", base_url="https://me:secret%2Fpassword@host:1/v1/")
    access = access_to(settings, {})
    assert access.url == "https://host:1/v1"
    assert access.headers["Authorization"].startswith("Basic ")
    assert "secret/password" in access.secrets
    assert "secret" not in repr(access)


def test_an_address_of_openai_has_its_version() -> None:
    assert access_to(BackendSettings(name="a", base_url="http://h:1"), {}).url == "http://h:1/v1"
    ollama = BackendSettings(name="a", kind="ollama", base_url="http://h:1/")
    assert access_to(ollama, {}).url == "http://h:1"


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "a b"},
        {"base_url": "host:1"},
        {"base_url": "http://h:port"},
        {"models": []},
        {"key_credential": "../token"},
    ],
)
def test_a_back_end_that_cannot_work_is_refused(wrong) -> None:
    with pytest.raises(MalformedData):
        BackendSettings(**{"name": "a", "base_url": "http://h", **wrong})


def test_a_key_is_one_line() -> None:
    settings = BackendSettings(name="a", base_url="http://h", key_variable="K")
    assert access_to(settings, {"K": " abc \n"}).headers == {"Authorization": "Bearer abc"}
    problem = access_to(settings, {"K": "a\nb-very-secret"}).problem
    assert "K holds no key" in problem
    assert "secret" not in problem
