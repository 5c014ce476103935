"""Names out of GUM's mentions, by hand, and what the corpus gives."""

import gzip

import pytest

from mtl_zoo.data import gum

HEADER = "# newdoc id = GUM_{genre}_x\n# sent_id = 1\n# s_type = frag\n"


def sentence(*tokens):
    """Lines of CoNLL-U of `(word, tag, head, entity brackets)`, heads from 1."""
    return "\n".join(
        f"{i}\t{word}\t_\tX\t{tag}\t_\t{head}\tdep\t_\t"
        + (f"Entity={brackets}" if brackets else "_")
        for i, (word, tag, head, brackets) in enumerate(tokens, 1)
    )


def mention(kind, number=1):
    return f"({number}-{kind}-new-nnn-cf1-1-sgl"


def names(*tokens):
    lines = sentence(*tokens).split("\n")
    return gum._tags([gum._Token.of(line.split("\t")) for line in lines])


def test_proper_nouns_around_the_head_without_title():
    tags = names(
        ("Dr.", "NNP", 2, mention("person")),
        ("Jane", "NNP", 4, ""),
        ("Roe", "NNP", 2, "1)"),
        ("saw", "VBD", 0, ""),
        ("the", "DT", 6, mention("organization", 2)),
        ("University", "NNP", 4, ""),
        ("of", "IN", 8, ""),
        ("Oslo", "NNP", 6, mention("place", 3) + ")2)"),
    )
    assert tags == ["O", "B-PER", "I-PER", "O", "O", "B-ORG", "I-ORG", "I-ORG"]


@pytest.mark.parametrize(
    ("word", "tag", "kind"),
    [
        ("she", "PRP", "person"),
        ("Secretary", "NNP", "person"),
        ("Court", "NNP", "organization"),
        ("Americans", "NNPS", "person"),
        ("Saturn", "NNP", "object"),
    ],
)
def test_what_is_no_name(word, tag, kind):
    assert names((word, tag, 0, mention(kind) + ")")) == ["O"]


def test_a_mention_that_began_in_another_sentence_is_left_out():
    assert names(("Oslo", "NNP", 0, "7)")) == ["O"]


def test_open_genres_alone(tmp_path):
    folder = tmp_path / "gum"
    folder.mkdir()
    (folder / "README.md").write_text("gum")
    text = "".join(
        HEADER.format(genre=genre)
        + sentence((genre, "NNP", 0, mention("person") + ")"))
        + "\n\n"
        for genre in ("bio", "fiction", "news")
    )
    for file in gum._FILES.values():
        (folder / f"{file}.conllu.gz").write_bytes(gzip.compress(text.encode()))
    rows = list(gum.load("train", tmp_path).as_numpy_iterator())
    assert [row["words"].tolist() for row in rows] == [[b"bio"], [b"news"]]
    assert [[gum.TAGS[t] for t in row["tags"]] for row in rows] == [["B-PER"]] * 2
    assert [row["heads"].tolist() for row in rows] == [[0]] * 2
    assert {gum.SENTENCE_TYPES[row["sentence_type"]] for row in rows} == {"frag"}
    assert [gum.UPOS[i] for row in rows for i in row["upos"]] == ["X", "X"]


def test_counts_of_the_corpus(real_data):
    """Sentences of the open genres, as data/README.md of the archive counts them."""
    folder = real_data("gum")
    counts = [
        len(list(gum.load(split, folder))) for split in ("train", "validation", "test")
    ]
    assert counts == [3707, 438, 491]
