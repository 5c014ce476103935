"""Amazon reviews of four domains: the rows of the files."""

import numpy as np
import pytest

from mtl_zoo.data import amazon4
from mtl_zoo.data.archives import DataNotFoundError, find


def load(*args, **kwargs):
    try:
        return amazon4.load(*args, **kwargs)
    except DataNotFoundError as error:
        pytest.skip(str(error))


def test_counts_are_those_of_the_readme():
    wanted = {"train": (2000,) * 4, "test": (4465, 3586, 5681, 5945)}
    for split, sizes in wanted.items():
        found = load(split)
        assert tuple(found) == amazon4.DOMAINS
        for reviews, size in zip(found.values(), sizes, strict=True):
            assert reviews.counts.shape == (size, amazon4.TERMS)
            assert reviews.counts.dtype == "float32"
            assert reviews.labels.shape == (size,) and reviews.labels.dtype == "int32"
            assert np.unique(reviews.labels).tolist() == [0, 1]
        if split == "train":
            assert all(one.labels.sum() == 1000 for one in found.values())


def test_rows_are_the_lines():
    """Written again, every twentieth row gives its line."""
    reviews = load("test")["kitchen"]
    lines = (find(amazon4.ARCHIVE) / "kitchen_test.svmlight").read_text().splitlines()
    for number in range(0, len(lines), 20):
        row = reviews.counts[[number]]
        pairs = zip(row.indices, row.data, strict=True)
        written = [f"{term}:{int(count)}" for term, count in pairs]
        label = "1" if reviews.labels[number] else "-1"
        assert " ".join([label, *written]) == lines[number].strip()
    assert reviews.counts.min() == 0 and reviews.counts[:, [0]].sum() > 0
    assert reviews.counts.indices.max() == amazon4.TERMS - 1


def test_equal_rows_are_as_many_as_the_docstring_says():
    train, test = load("train"), load("test")

    def rows(reviews):
        pieces = np.split(
            np.stack([reviews.counts.indices, reviews.counts.data], axis=1),
            reviews.counts.indptr[1:-1],
        )
        return [
            (int(label), piece.tobytes())
            for label, piece in zip(reviews.labels, pieces, strict=True)
        ]

    equal = []
    for domain in amazon4.DOMAINS:
        known = set(rows(train[domain]))
        equal.append(sum(row in known for row in rows(test[domain])))
    assert equal == [198, 199, 168, 156]


def test_bad_arguments_say_what_is_expected():
    with pytest.raises(ValueError, match=r"'train' or 'test'.*split='dev'"):
        amazon4.load("dev")
    with pytest.raises(DataNotFoundError, match=r"amazon4_svmlight\.tar\.gz"):
        amazon4.load(data_dir="/nowhere")
