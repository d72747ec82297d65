"""A run's ledger lies in the run, whatever its folder is called."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from tael.serve.bill import bill, ledger_url
from tael.serve.keys import make_key
from tael.serve.roster import holders
from tael.serve.tables import open_database, sqlite_file

ODD = ["a?b", "a%20b", "100%", "a#b", "a b", "a@b:c", "评论", "[x]", "a&b=c", "a+b", "'a'"]


@pytest.mark.parametrize("name", ODD)
def test_a_ledger_lies_in_its_run_and_is_no_other_runs(tmp_path: Path, name: str) -> None:
    url, other = ledger_url(tmp_path / name), ledger_url(tmp_path / f"{name}2")
    for one in (url, other):
        database = open_database(one)
        make_key(database, "first" if one == url else "second")
        database.dispose()
    assert (tmp_path / name / "serve" / "ledger.db").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {name, f"{name}2"}
    assert [one.name for one in holders(url)] == ["first"]
    assert bill(url).lines == ()


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1))
def test_every_folder_has_an_url_that_leads_back_to_it(name: str) -> None:
    folder = Path("/runs") / name
    if folder.resolve() != folder:
        return  # `..` and its like
    assert sqlite_file(ledger_url(folder)) == folder / "serve" / "ledger.db"
    assert not make_url(ledger_url(folder)).query


def test_a_named_database_goes_before_the_run(tmp_path: Path) -> None:
    assert ledger_url(tmp_path, "postgresql://u@h/n") == "postgresql://u@h/n"
