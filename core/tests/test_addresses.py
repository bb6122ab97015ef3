"""Secrets of addresses: which are found, and that recipes and messages go without them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftp import addresses
from ftp.cli.main import call
from ftp.plugins.plan import prepare

TOKEN = "hf_" + "aB3" * 8


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_known", {})
    for name in ("FTP_SECRET", "FTP_SECRET_2"):
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
        monkeypatch.delenv(name)


@pytest.mark.parametrize(("text", "secrets"), [
    ("https://ann:s3cret@host/rows.csv", ["s3cret"]), ("https://s3cret@host/x", ["s3cret"]),
    ("https://host/x?a=1&access_token=s3cret&b=2", ["s3cret"]), ("https://host/x?X-Amz-Signature=s3cret#z", ["s3cret"]),
    (f"hf://datasets/org/name?x={TOKEN}", [TOKEN]), (f"org/{TOKEN}", [TOKEN]),
    ("https://host/rows.csv?page=2", []), ("org/name:config", []), ("rows/ann@home.csv", []), ("C:\\rows\\x.csv", []),
    ("https://ann:${FTP_SECRET}@host/x", []),
])
def test_secrets_of_an_address(text, secrets):
    assert addresses.secrets(text) == secrets


def test_a_recipe_names_the_variable_and_takes_it_back(monkeypatch):
    settings = {"data": "https://ann:s3cret@host/x?token=0ther-one"}
    prepared = prepare(["full", "sentiment"], given=[("flags", settings)])
    text = prepared.recipe()
    assert "s3cret" not in text and "0ther-one" not in text
    assert "https://ann:${FTP_SECRET}@host/x?token=${FTP_SECRET_2}" in text
    assert prepared.values["data"] == settings["data"]
    again = prepare(["full", "sentiment"], given=[("run.toml", {"data": "https://ann:${FTP_SECRET}@host/x"})])
    assert again.values["data"] == "https://ann:s3cret@host/x"


def test_a_variable_that_holds_another_secret_is_left(monkeypatch):
    monkeypatch.setenv("FTP_SECRET", "of-another")
    prepared = prepare(["full", "sentiment"], given=[("flags", {"data": "https://ann:s3cret@host/x"})])
    assert "${FTP_SECRET_2}" in prepared.recipe()


def test_only_secrets_of_ftp_are_taken_from_the_environment(monkeypatch):
    monkeypatch.setenv("AWS_SECRET", "s3cret")
    assert addresses.filled("https://elsewhere/?x=${AWS_SECRET}") == "https://elsewhere/?x=${AWS_SECRET}"


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--data"], ["--model"], ["--learning-rate"]])
def test_errors_go_without_them(words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    address = f"https://ann:s3cret@host/x?token={TOKEN}"
    assert call(["run", "--plugins", "full,sentiment", *words, address, "--device", "cpu", "--max-steps", "1"]) == 2
    printed = capsys.readouterr()
    assert "s3cret" not in printed.out + printed.err and TOKEN not in printed.out + printed.err
    assert not [path for path in Path().rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]


def test_config_writes_none(capsys):
    assert call(["config", "--plugins", "full,sentiment", "--data", "https://ann:s3cret@host/x"]) == 0
    printed = capsys.readouterr().out
    assert "s3cret" not in printed and "https://ann:${FTP_SECRET}@host/x" in printed
