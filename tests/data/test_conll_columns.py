"""Column files, and the ways to write tags."""

import pytest

from mtl_zoo.data import conll_columns


@pytest.mark.parametrize(
    ("scheme", "tags", "bio"),
    [
        # IOB1: B- only where an entity follows another of its type.
        ("iob1", "I-PER I-PER B-PER O I-LOC", "B-PER I-PER B-PER O B-LOC"),
        ("iob1", "I-LOC I-PER B-PER B-PER I-PER", "B-LOC B-PER B-PER B-PER I-PER"),
        # A set in BIO is a valid set in IOB1, and stays what it is.
        ("iob1", "B-PER I-PER O B-PER", "B-PER I-PER O B-PER"),
        ("bio", "B-PER I-PER B-PER O B-LOC", "B-PER I-PER B-PER O B-LOC"),
        # IO: neighbours of one type are one entity.
        ("io", "I-PER I-PER O I-LOC I-PER", "B-PER I-PER O B-LOC B-PER"),
        ("io", "O O", "O O"),
    ],
)
def test_schemes(scheme, tags, bio):
    assert conll_columns.to_bio(tags.split(), scheme) == bio.split()


@pytest.mark.parametrize(
    ("scheme", "tags", "message"),
    [
        ("bio", "O I-PER", r"'I-PER'.*behind 'O'.*IOB1"),
        ("bio", "B-LOC I-PER", r"behind 'B-LOC'"),
        ("io", "B-PER", r"scheme 'io'.*I-<type>.*'B-PER'"),
        ("iob1", "S-PER", r"'S-PER'"),
        ("iob1", "I-", r"'I-'"),
        ("bilou", "O", r"Expected a scheme.*'bilou'"),
    ],
)
def test_other_tags_are_refused(scheme, tags, message):
    with pytest.raises(ValueError, match=message):
        conll_columns.to_bio(tags.split(), scheme)


def test_files_by_blanks_or_tabs(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text(
        "-DOCSTART- -X- O O\n\nNew NNP I-LOC\nYork NNP I-LOC\n\n\nOslo\tNN\tI-LOC\n"
    )
    assert list(conll_columns.read(path)) == [
        (["New", "York"], ["I-LOC", "I-LOC"]),
        (["Oslo"], ["I-LOC"]),
    ]
    assert list(conll_columns.read(path, tag_column=1))[1][1] == ["NN"]


def test_malformed_lines_are_counted(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("Oslo\tI-LOC\n\tO\nx\n\n")
    with pytest.raises(
        ValueError, match=r"but for 0 lines. Received 2 others: \[2, 3\]"
    ):
        list(conll_columns.read(path))
    assert list(conll_columns.read(path, malformed=2)) == [(["Oslo"], ["I-LOC"])]
