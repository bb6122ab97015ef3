"""No file of a run's folder has the token of its `--data`, and a resume takes it from the environment."""

from __future__ import annotations

from pathlib import Path

from ftp import addresses
from ftp.cli.main import call

SECRET = "hf_" + "Zq7" * 8
REMOTE = """
from ftp import hookimpl, plugin

@plugin(gives=("labelled",))
class Remote:
    "Rows of an address, and words about it wherever a plugin may say some."

    @hookimpl
    def load_data(self, run):
        from datasets import Dataset
        assert "{secret}" in run.settings.data, run.settings.data
        run.tell("read " + run.settings.data)
        rows = [{{"text": f"a warm room {{n}}", "label": ("bad", "good")[n % 2]}} for n in range(24)]
        return {{"train": Dataset.from_list(rows)}}

    @hookimpl
    def check_risks(self, run, stage):
        from ftp.types import Risk
        if stage == "end":
            if not (run.out / "again").exists():
                (run.out / "again").mkdir()
                raise KeyboardInterrupt
            return [Risk("source", "warn", "the rows are from " + run.settings.data, {{"address": run.settings.data}})]
        return []
"""


def test_a_token_is_written_nowhere(tiny_bert, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(addresses, "_known", {})
    monkeypatch.setenv("FTP_SECRET", "")
    monkeypatch.delenv("FTP_SECRET")
    (tmp_path / "remote.py").write_text(REMOTE.format(secret=SECRET))
    out = tmp_path / "run"
    line = ["run", "--plugins", "full,-leakage,-forgetting,-overfitting,-underfitting,-preflight", "--model", str(tiny_bert),
            "--plugins-from", f"{tmp_path / 'remote.py'}:Remote", "--data", f"https://ann:{SECRET}@host/rows?token={SECRET}",
            "--out", str(out), "--device", "cpu", "--precision", "fp32", "--max-steps", "2", "--save-steps", "1", "--no-verify"]
    assert call(line) == 130
    assert holding(out) == []
    monkeypatch.setattr(addresses, "_known", {})
    monkeypatch.delenv("FTP_SECRET")
    capsys.readouterr()
    assert call(["run", "--resume", str(out)]) == 2
    assert f"FTP_SECRET=... ftp run --resume {out}" in capsys.readouterr().err
    monkeypatch.setenv("FTP_SECRET", SECRET)
    assert call(["run", "--resume", str(out)]) == 0, capsys.readouterr().err
    assert (out / "report.html").is_file() and "${FTP_SECRET}" in (out / "run.toml").read_text()
    assert holding(out) == []
    output = capsys.readouterr()
    assert "the rows are from https://ann:***@host" in output.out + output.err and SECRET not in output.out + output.err


def holding(folder: Path) -> list[str]:
    """Files of a folder that hold the secret."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
