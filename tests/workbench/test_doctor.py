"""The doctor finds this installation sound, and sees what is not."""

from gfsim.workbench import doctor
from gfsim.workbench.cli import main


def test_this_installation_is_sound(capsys):
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = {"versions", "x64", "devices", "jit against eager", "known flow", "cache folder", "optional extras"}
    assert {line.removeprefix("ok ").strip().split(":")[0] for line in lines} == names


def test_a_wrong_number_is_seen(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "jit_deviation", lambda n, d: 0.5 if d == 6 else 0.0)
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "BAD jit against eager: compiled and eager sums differ by 5.0e-01 (relative)\n    remedy: " in out


def test_an_unwritable_cache_is_seen(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(doctor, "cache_folder", lambda: tmp_path / "file" / "jax")
    finding = doctor._cache()
    assert not finding.sound
    assert "XDG_CACHE_HOME" in finding.remedy


def test_a_check_that_raises_is_a_finding(monkeypatch, capsys):
    def broken(n, d):
        raise RuntimeError("no device")

    monkeypatch.setattr(doctor, "jit_deviation", broken)
    assert main(["doctor"]) == 1
    assert "BAD jit against eager: RuntimeError: no device" in capsys.readouterr().out
