"""`tael key` from the command line: what a person types, reads and pipes."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tael.cli import main as cli
from tael.serve.tables import open_database

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def tael(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Run a command; return its exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tael", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Make a folder whose ledger has no key yet."""
    open_database(f"sqlite:///{tmp_path / 'serve' / 'ledger.db'}").dispose()
    return tmp_path


def test_a_key_is_made_listed_limited_and_revoked(tael: Command, run: Path) -> None:
    code, out, err = tael("key", "add", "shop", str(run), "--budget", "20")
    assert (code, err) == (0, "")
    assert out.startswith("API key 'shop', shown only now: tael-")
    secret = out.split()[-1]
    code, out, _ = tael("key", "list", str(run))
    assert code == 0
    assert secret not in out
    heading, shop = out.splitlines()
    assert heading.split() == ["name", "id", "made", "last", "used", "spent", "budget"]
    assert shop.split()[0] == "shop"
    assert shop.split()[-3:] == ["never", "0.00", "20.00"]
    assert tael("key", "budget", "shop", "0.5", str(run)) == (0, "budget of shop: 0.5\n", "")
    assert tael("key", "revoke", "shop", str(run)) == (0, "revoked shop\n", "")
    code, out, _ = tael("key", "list", "--db", f"sqlite:///{run / 'serve' / 'ledger.db'}", "--json")
    (listed,) = json.loads(out)["keys"]
    assert listed["revoked"]
    assert listed["budget_micros"] == 500_000
    assert tael("key", "budget", "shop", "none", str(run))[0] == 0


def test_wrong_usage_says_what_to_type(tael: Command, run: Path, tmp_path: Path) -> None:
    for arguments, said in (
        (("key", "list"), "which ledger? `tael key list RUN`, or `tael key list --db URL`"),
        (("key", "list", str(run), "--db", "sqlite:///x.db"), "which ledger?"),
        (("key", "budget", "shop", "much", str(run)), "expected an amount of money"),
        (("key", "revoke", "shop", str(run)), "no key 'shop' in this ledger; it has none"),
        (("key", "ad", "shop"), "`tael key --help`"),
    ):
        code, out, err = tael(*arguments)
        assert (code, out) == (2, "")
        assert said in err
        assert err.count("\n") == 1
    code, _, err = tael("key", "list", str(tmp_path / "nowhere"))
    assert code == 1
    assert "no ledger yet" in err
    code, out, _ = tael("key")
    assert code == 2
    assert "Commands:" in out
