"""The text sets: published counts, made-up archives, what TFDS gives."""

from collections import Counter

import pytest
import tensorflow as tf

from mtl_zoo.data import (
    archives,
    btc,
    conll2000,
    conll2003,
    fdu_mtl,
    gum,
    nlu_eval,
    sentence_polarity,
    sick,
    sst,
    text_sets,
    ud_ewt,
    wnut17,
)

SETS = {
    "btc": btc,
    "conll2000": conll2000,
    "conll2003": conll2003,
    "fdu_mtl": fdu_mtl,
    "gum": gum,
    "nlu_eval": nlu_eval,
    "sentence_polarity": sentence_polarity,
    "sick": sick,
    "sst": sst,
    "ud_ewt": ud_ewt,
    "wnut17": wnut17,
}

# Of each split: examples, and entities by type where a publication counts them.
PUBLISHED = {
    ("conll2003", "train"): (
        14041,
        {"LOC": 7140, "MISC": 3438, "ORG": 6321, "PER": 6600},
    ),
    ("conll2003", "validation"): (
        3250,
        {"LOC": 1837, "MISC": 922, "ORG": 1341, "PER": 1842},
    ),
    ("conll2003", "test"): (3453, {"LOC": 1668, "MISC": 702, "ORG": 1661, "PER": 1617}),
    ("wnut17", "train"): (3394, None),
    ("wnut17", "validation"): (1009, None),
    ("wnut17", "test"): (1287, None),
    ("sst", "train"): (6920, None),
    ("sst", "validation"): (872, None),
    ("sst", "test"): (1821, None),
    ("btc", "test"): (2000, None),
    ("nlu_eval", "test"): (1076, None),
}


def entities(examples, tags):
    return Counter(
        tags[int(tag)][2:]
        for example in examples
        for tag in example["tags"]
        if tags[int(tag)].startswith("B-")
    )


@pytest.mark.parametrize(("name", "split"), PUBLISHED)
def test_published_counts(real_data, name, split):
    module = SETS[name]
    examples = list(module.load(split, real_data(name)).as_numpy_iterator())
    number, by_type = PUBLISHED[name, split]
    assert len(examples) == number
    if by_type is not None:
        assert entities(examples, module.TAGS) == by_type


def test_totals_that_are_published_over_splits(real_data):
    tweets = [
        list(btc.load(split, real_data("btc")).as_numpy_iterator())
        for split in ("train", "validation", "test")
    ]
    assert [len(part) for part in tweets] == [6338, 1000, 2000]
    films = [
        list(sentence_polarity.load(split, real_data("sentence_polarity")))
        for split in ("train", "validation", "test")
    ]
    assert sum(len(part) for part in films) == 10_662  # Pang and Lee, 2005: 5,331 each
    assert sum(int(x["label"]) for part in films for x in part) == 5331
    said = [
        list(nlu_eval.load(split, real_data("nlu_eval")))
        for split in ("train", "validation")
    ]
    assert sum(len(part) for part in said) == 9960


def test_phrases_hold_no_held_out_sentence(real_data):
    folder = real_data("sst")

    def bare(split):
        texts = (
            x["text"].decode() for x in sst.load(split, folder).as_numpy_iterator()
        )
        return {"".join(c for c in text.lower() if c.isalnum()) for text in texts}

    phrases = bare("train_phrases")
    assert len(phrases) > 60_000
    assert not phrases & (bare("validation") | bare("test"))


def test_reviews_that_leak_are_marked(real_data):
    folder = real_data("fdu_mtl")
    train, test = (
        list(fdu_mtl.load(split, folder).as_numpy_iterator())
        for split in ("train", "test")
    )
    assert (len(train), len(test)) == (25_380, 6_400)
    assert len({row["domain"] for row in test}) == len(fdu_mtl.DOMAINS) == 16
    known = {row["text"] for row in train}
    leaked = {row["text"] for row in test if row["leaked"]}
    assert sum(row["leaked"] for row in test) == 559
    assert leaked <= known
    assert not known & {row["text"] for row in test if not row["leaked"]}


@pytest.mark.parametrize("name", SETS)
def test_without_the_archive_the_message_says_where_to_get_it(name, tmp_path):
    with pytest.raises(archives.DataNotFoundError, match=name):
        SETS[name].load("train", tmp_path)


@pytest.fixture
def folder(tmp_path):
    """Made-up archives, two or three examples a split."""
    columns = {
        "conll2003": (
            {"train": "eng.train", "validation": "eng.testa", "test": "eng.testb"},
            "-DOCSTART- -X- O O\n\nJane NNP I-NP I-PER\nOslo NNP I-NP I-LOC\n"
            "Bergen NNP I-NP B-LOC\n\nfine JJ I-NP O\n",
        ),
    }
    for name, (files, text) in columns.items():
        root = tmp_path / name
        root.mkdir()
        (root / "README.md").write_text(name)
        for module_split, file in files.items():
            (root / conll2003._FILES.get(module_split, file)).write_text(text)
    root = tmp_path / "nlu_eval"
    root.mkdir()
    (root / "README.md").write_text("nlu")
    head = "userid;answerid;scenario;intent;status;answer_annotation\n"
    rows = "".join(
        f"1;{i};alarm;set;;wake me at [time : {i} am] on [date : friday]\n"
        for i in range(30)
    )
    for file in ("train", "test"):
        (root / f"{file}.csv").write_text(head + rows)
    root = tmp_path / "sentence_polarity"
    root.mkdir()
    (root / "README.md").write_text("films")
    for label in ("neg", "pos"):
        lines = "".join(f"a {label} film number {i} .\n" for i in range(40))
        (root / f"rt-polarity.{label}").write_text(lines)
    return tmp_path


def test_made_up_columns(folder):
    rows = list(conll2003.load("train", folder).as_numpy_iterator())
    assert [[w.decode() for w in row["words"]] for row in rows] == [
        ["Jane", "Oslo", "Bergen"],
        ["fine"],
    ]
    names = [[conll2003.TAGS[t] for t in row["tags"]] for row in rows]
    assert names == [["B-PER", "B-LOC", "B-LOC"], ["O"]]
    texts = text_sets.labelled(conll2003.load("train", folder), {"ner": "tags"})
    assert texts.texts == ["Jane Oslo Bergen", "fine"]
    assert texts.labels["ner"][0].starts == (0, 5, 10)


def test_made_up_utterances(folder):
    parts = {
        split: list(nlu_eval.load(split, folder).as_numpy_iterator())
        for split in ("train", "validation", "test")
    }
    assert len(parts["train"]) + len(parts["validation"]) == len(parts["test"]) == 30
    row = parts["test"][0]
    assert [nlu_eval.TAGS[t] for t in row["tags"]] == [
        *["O"] * 3,
        *["B-time", "I-time"],
        *["O", "B-date"],
    ]
    assert nlu_eval.SCENARIOS[row["scenario"]] == "alarm"
    assert nlu_eval.INTENTS[row["intent"]] == "alarm_set"


def test_made_up_films_fall_into_one_split_each(folder):
    texts = [
        example["text"]
        for split in ("train", "validation", "test")
        for example in sentence_polarity.load(split, folder).as_numpy_iterator()
    ]
    assert len(texts) == len(set(texts)) == 80


def test_tfds_gives_the_same_form(monkeypatch):
    """What the catalogue says `conll2003` and `glue/sst2` hold; nothing is fetched."""

    class Names:
        names = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"]

    class Info:
        features = {"ner": type("F", (), {"feature": Names})}

    def fetch(name, split, data_dir, with_info=False):
        if name == "conll2003":
            assert split == "dev[:5]"
            data = tf.data.Dataset.from_tensors(
                {"tokens": ["Oslo", "is"], "ner": tf.constant([5, 0], tf.int64)}
            )
            return data, Info
        assert (name, split) == ("glue/sst2", "train[:9]")
        return tf.data.Dataset.from_tensors({"sentence": "fine", "label": 1, "idx": 0})

    monkeypatch.setattr(conll2003.tfds, "load", fetch)
    (row,) = conll2003.load("validation[:5]", source="tfds").as_numpy_iterator()
    assert [conll2003.TAGS[t] for t in row["tags"]] == ["B-LOC", "O"]
    (row,) = sst.load("train_phrases[:9]", source="tfds").as_numpy_iterator()
    assert row == {"text": b"fine", "label": 1}


def test_at_signs_of_handles_are_tagged_alike():
    words = ["@", "jane", "@", "home", "see", "@", "nyc"]
    tags = ["O", "B-PER", "O", "O", "O", "B-LOC", "B-LOC"]
    assert btc._with_at_signs(words, tags) == ["B-PER", *tags[1:]]


def test_unknown_sources_are_refused():
    for module in (conll2003, sst):
        with pytest.raises(ValueError, match=r"'archive' or 'tfds'.*source='web'"):
            module.load("train", source="web")
    with pytest.raises(ValueError, match="GLUE keeps the labels"):
        sst.load("test", source="tfds")


def test_other_types():
    texts = text_sets.labelled(
        tf.data.Dataset.from_tensors(
            {"words": ["Apple", "Pay", "in", "Rome"], "tags": [1, 2, 0, 3]}
        ),
        {"ner": "tags"},
    )
    renamed = text_sets.retagged(
        texts, ["product", "city"], ["LOC", "ORG"], {"city": "LOC", "product": "ORG"}
    )
    assert renamed.labels["ner"][0].tags == (3, 4, 0, 1)
    assert renamed.texts == texts.texts
