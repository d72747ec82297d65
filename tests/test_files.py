"""Files are whole or absent, and as open to others as the folder they lie in."""

from pathlib import Path

import pytest

from tael.files import atomic_file, atomic_folder, write_text


def _fail_halfway(path: Path) -> None:
    path.write_text("half")
    raise KeyError


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(KeyError), atomic_file(tmp_path / "a.txt") as draft:
        _fail_halfway(draft)
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with atomic_folder(tmp_path / "run") as draft:
            (draft / content).write_text(content)
    assert [path.name for path in tmp_path.rglob("*")] == ["run", "new"]


def test_a_folder_is_as_it_was_after_an_error(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "run") as draft:
        (draft / "a").write_text("old")
    with pytest.raises(KeyError), atomic_folder(tmp_path / "run") as draft:
        _fail_halfway(draft / "a")
    assert (tmp_path / "run" / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(("folder", "file"), [(0o755, 0o644), (0o750, 0o640), (0o700, 0o600)])
def test_who_may_read_the_folder_may_read_its_weights(
    tmp_path: Path, folder: int, file: int
) -> None:
    tmp_path.chmod(folder)
    with atomic_file(tmp_path / "weights") as draft:
        draft.touch(0o600)  # as safetensors makes it
    assert (tmp_path / "weights").stat().st_mode & 0o777 == file
    with atomic_folder(tmp_path / "model") as draft:
        draft.chmod(folder)
        (draft / "weights").touch(0o600)
    assert (tmp_path / "model" / "weights").stat().st_mode & 0o777 == file
