"""Treebanks: what a file must hold, and what the sets made of them give."""

import gzip

import numpy as np
import pytest

from mtl_zoo.data import conll2000, conllu, gum, sick, text_batches, text_sets, ud_ewt
from mtl_zoo.trunks import WordPieces
from tests.zoo.tiny_text import VOCABULARY

DOG = """# sent_id = 1
1-2\tDon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tDo\tdo\tAUX\tVB\t_\t3\taux\t3:aux\t_
2\tn't\tnot\tPART\tRB\t_\t3\tadvmod\t3:advmod\t_
3\tgo\tgo\tVERB\tVB\t_\t0\troot\t0:root\t_
3.1\tgo\tgo\tVERB\tVB\t_\t_\t_\t3:conj\t_
4\t!\t!\tPUNCT\t.\t_\t3\tpunct\t3:punct\t_
"""


def written(path, text=DOG):
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write(text)
    return path


def test_syntactic_words_are_read_and_nothing_else(tmp_path):
    (one,) = conllu.read(written(tmp_path / "x.conllu.gz"))
    assert one.words == ("Do", "n't", "go", "!")
    assert one.upos == ("AUX", "PART", "VERB", "PUNCT")
    assert one.heads == (3, 3, 0, 3)
    assert one.relations == ("aux", "advmod", "root", "punct")
    assert one.comments == ("# sent_id = 1",)
    plain = tmp_path / "x.conllu"
    plain.write_text(f"{DOG}\n\n{DOG}")
    assert [s.words for s in conllu.read(plain)] == [one.words] * 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\t_\t3\tpunct", "\t_\t0\troot"),  # two roots
        ("\t_\t0\troot", "\t_\t4\tpunct"),  # a circle
        ("\t_\t3\tpunct", "\t_\t9\tpunct"),  # a head that is not there
        ("\t_\t3\tpunct", "\t_\t_\tpunct"),
        ("PUNCT", "COMMA"),
        ("\tpunct", "\tcomma"),
        ("\n4\t", "\n5\t"),
        ("\t3:punct", ""),
    ],
)
def test_what_is_no_sentence_is_refused(tmp_path, old, new):
    file = written(tmp_path / "x.conllu.gz", DOG.replace(old, new))
    with pytest.raises(ValueError, match=r"x\.conllu\.gz.*Received"):
        list(conllu.read(file))


def test_made_up_treebank(tmp_path):
    for part in ("train", "dev", "test"):
        written(tmp_path / "ud_ewt" / f"en_ewt-ud-{part}.conllu.gz")
    (row,) = ud_ewt.load("validation", tmp_path).as_numpy_iterator()
    assert row["words"].tolist() == [b"Do", b"n't", b"go", b"!"]
    assert [ud_ewt.UPOS[i] for i in row["upos"]] == ["AUX", "PART", "VERB", "PUNCT"]
    assert row["heads"].tolist() == [3, 3, 0, 3]
    assert [ud_ewt.RELATIONS[i] for i in row["relations"]] == [
        *["aux", "advmod", "root", "punct"]
    ]


def test_trees_hold_for_the_words_of_the_model(tmp_path):
    for part in ("train", "dev", "test"):
        written(tmp_path / "ud_ewt" / f"en_ewt-ud-{part}.conllu.gz")
    texts = text_sets.labelled(
        ud_ewt.load("train", tmp_path), {"pos": "upos", "parse": "tree"}
    )
    pieces = WordPieces(VOCABULARY, sequence_length=16)
    ((inputs, labels, _),) = text_batches.evaluation_batches({"a": texts}, pieces)
    (text,) = texts.texts
    cut = [
        text[s:e]
        for s, e in zip(inputs["starts"][0], inputs["ends"][0], strict=True)
        if e > s
    ]
    assert cut == ["Do", "n", "'", "t", "go", "!"]
    parse = {name: x[0].numpy().tolist() for name, x in labels["parse"].items()}
    # Word 3 is the fifth now; what was cut off n't hangs on its first part.
    assert parse["heads"] == [5, 5, 2, 2, 0, 5]
    names = [ud_ewt.RELATIONS[i] for i in parse["relations"]]
    assert names == ["aux", "advmod", "goeswith", "goeswith", "root", "punct"]
    assert parse["scored"] == [True, True, False, False, True, True]
    classes = [ud_ewt.UPOS[i] for i in labels["pos"]["tags"][0].numpy()]
    assert classes == ["AUX", "PART", "PART", "PART", "VERB", "PUNCT"]
    assert labels["pos"]["scored"][0].numpy().tolist() == parse["scored"]


def test_words_without_head():
    tree = text_batches.WordTree((0, 4), (2, 0), (7, 8))
    # Of the second word nothing is left to the model, so the first has no head.
    aligned = text_batches._aligned(np.array([0, 2]), tree)
    assert aligned.tolist() == [[-1, 7, 1], [-1, -1, 0]]


def test_made_up_chunks_and_where_the_validation_is_from(tmp_path):
    root = tmp_path / "conll2000"
    root.mkdir()
    sentences = [f"Word{i} NN B-NP\nfalls VBZ B-VP\n\n" for i in range(40)]
    (root / "train.txt").write_text("".join(sentences))
    (root / "test.txt").write_text("a DT B-NP\ncat NN I-NP\n\n")
    parts = {
        split: [row["words"][0] for row in conll2000.load(split, tmp_path)]
        for split in ("train", "validation")
    }
    assert len(parts["train"]) + len(parts["validation"]) == 40
    assert 0 < len(parts["validation"]) < 15
    (row,) = conll2000.load("test", tmp_path).as_numpy_iterator()
    assert [conll2000.TAGS[t] for t in row["tags"]] == ["B-NP", "I-NP"]


def sick_archive(folder, head="pair_ID\tsentence_A\tsentence_B"):
    root = folder / "sick"
    root.mkdir()
    head += "\trelatedness_score\tentailment_judgment"
    for name, end in (("train", "\n"), ("trial", "\n"), ("test_annotated", "\r\n")):
        rows = [head, "1\tA man sings\tNo man sings\t3.5\tCONTRADICTION", ""]
        (root / f"SICK_{name}.txt").write_text(end.join(rows), newline="")
    return folder


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_made_up_pairs(tmp_path, split):
    (row,) = sick.load(split, sick_archive(tmp_path)).as_numpy_iterator()
    assert (row["first"], row["second"]) == (b"A man sings", b"No man sings")
    assert row["relatedness"] == 3.5 and row["relatedness"].dtype == np.float32
    assert sick.LABELS[row["entailment"]] == "contradiction"
    texts = text_sets.labelled(
        sick.load(split, tmp_path), {"rel": "relatedness", "ent": "entailment"}
    )
    assert texts.texts == ["A man sings\x1eNo man sings"]
    pieces = WordPieces(VOCABULARY, sequence_length=16)
    ((inputs, labels, _),) = text_batches.evaluation_batches({"a": texts}, pieces)
    assert labels["rel"].numpy().tolist() == [3.5]
    assert labels["ent"].numpy().tolist() == [0]
    assert inputs["segment_ids"].numpy().max() == 1


def test_other_columns_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"columns.*Received.*text_A"):
        sick.load("train", sick_archive(tmp_path, "pair_ID\ttext_A\tsentence_B"))


def test_only_some_texts_are_kept():
    texts = text_batches.LabelledTexts(["a b c", "d", "e f"], {"x": [1, 2, 3]})
    kept = text_sets.shorter(texts, 2)
    assert kept.texts == ["d", "e f"] and kept.labels == {"x": [2, 3]}
    with pytest.raises(ValueError, match="at least one text"):
        text_sets.shorter(texts, 0)


PUBLISHED = {
    # stats.xml of UD English EWT 2.16
    (ud_ewt, "train"): (12_544, 204_577),
    (ud_ewt, "validation"): (2_001, 25_147),
    (ud_ewt, "test"): (2_077, 25_094),
    # Tjong Kim Sang and Buchholz, 2000, section 2
    (conll2000, "test"): (2_012, 47_377),
}


@pytest.mark.parametrize(("module", "split"), PUBLISHED)
def test_published_counts(real_data, module, split):
    folder = real_data(module.__name__.split(".")[-1])
    rows = list(module.load(split, folder).as_numpy_iterator())
    assert (len(rows), sum(len(r["words"]) for r in rows)) == PUBLISHED[module, split]


def test_totals_over_train_and_validation(real_data):
    parts = [
        list(conll2000.load(split, real_data("conll2000")).as_numpy_iterator())
        for split in ("train", "validation")
    ]
    rows = [row for part in parts for row in part]
    assert (len(rows), sum(len(r["words"]) for r in rows)) == (8_936, 211_727)
    assert 800 < len(parts[1]) < 1_000
    train, validation = ({tuple(r["words"]) for r in part} for part in parts)
    assert not train & validation


def test_pairs_of_sick(real_data):
    sizes = [len(list(sick.load(s, real_data("sick")))) for s in sick._FILES]
    assert sizes == [4_500, 500, 4_927]  # Marelli et al., 2014
    rows = list(sick.load("test", real_data("sick")).as_numpy_iterator())
    # Counted in the annotated test file by itself (cut and uniq).
    counts = np.bincount([row["entailment"] for row in rows])
    assert dict(zip(sick.LABELS, counts.tolist(), strict=True)) == {
        "contradiction": 720,
        "entailment": 1414,
        "neutral": 2793,
    }


def test_gum_has_trees_too(real_data):
    rows = list(gum.load("test", real_data("gum")).as_numpy_iterator())
    for row in rows:
        sizes = {len(row[n]) for n in ("words", "tags", "upos", "heads", "relations")}
        assert len(sizes) == 1
        (root,) = np.flatnonzero(row["heads"] == 0)
        assert gum.RELATIONS[row["relations"][root]] == "root"
