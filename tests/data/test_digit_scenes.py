import numpy as np
import pytest

from mtl_zoo.data import digit_scenes


def made(split="train", number=40, seed=0):
    return digit_scenes.scenes(split, number, seed)


def test_boxes_are_tight_about_the_labelled_pixels():
    scenes = made()
    for at in range(40):
        left = scenes["label_map"][at].astype(int)
        for box, label in zip(scenes["boxes"][at], scenes["labels"][at], strict=True):
            if label < 0:
                assert (box == -1).all()
                continue
            x1, y1, x2, y2 = box.astype(int)
            part = left[y1:y2, x1:x2]
            own = part == 1 + label
            assert set(np.unique(part)) <= {0, 1 + label}
            assert own[0].any() and own[-1].any()
            assert own[:, 0].any() and own[:, -1].any()
            part[...] = 0
        assert not left.any()  # Every labelled pixel lies in a box.


def test_counts_and_classes():
    scenes = made(number=300)
    np.testing.assert_array_equal(scenes["count"], (scenes["labels"] >= 0).sum(1))
    assert set(np.unique(scenes["count"])) == {1, 2, 3, 4, 5, 6}
    assert set(np.unique(scenes["labels"])) == {-1, *range(10)}


def test_digits_can_be_told_from_their_background():
    scenes = made()
    for at in range(40):
        grey = scenes["images"][at].astype(float).mean(-1)
        for x1, y1, x2, y2 in scenes["boxes"][at][scenes["labels"][at] >= 0].astype(
            int
        ):
            ink = scenes["label_map"][at][y1:y2, x1:x2] > 0
            if not ink.all():
                part = grey[y1:y2, x1:x2]
                assert abs(part[ink].mean() - part[~ink].mean()) > 10


def test_scene_depends_on_its_number_and_the_seed_only():
    few, many = made(number=3), made(number=6)
    for name in few:
        np.testing.assert_array_equal(few[name], many[name][:3])
    assert (made(seed=1)["images"] != made(seed=0)["images"]).any()


def test_splits_share_no_digit():
    everywhere = [digit_scenes._split_of_digit(i) for i in range(1797)]
    sizes = [len(digit_scenes._digits(split)[1]) for split in digit_scenes.SPLITS]
    assert sum(sizes) == 1797
    assert sizes == [everywhere.count(split) for split in digit_scenes.SPLITS]
    assert min(sizes) > 200
    assert (made("test", 2)["images"] != made("train", 2)["images"]).any()


def test_labelled_share_is_exact_and_each_targets_own():
    shares = {"boxes": 0.5, "count": 0.25}
    batches = digit_scenes.training_batches(number=40, batch_size=40, labelled=shares)
    for _, _, weights in batches.take(2):
        assert np.sum(weights["boxes"]) == 20
        assert np.sum(weights["count"]) == 10
        assert np.all(weights["label_map"] == 1)
        assert weights["label_map"].shape == (40, 64, 64)


def test_the_same_scenes_are_labelled_whatever_the_order():
    def labelled(seed):
        batches = digit_scenes.training_batches(
            number=30, batch_size=30, seed=seed, labelled={"boxes": 0.3}
        )
        images, _, weights = next(iter(batches))
        known = weights["boxes"].numpy() > 0
        return {image.tobytes() for image in images.numpy()[known]}

    assert labelled(seed=1) == labelled(seed=2)


def test_evaluation_is_the_scenes_in_order():
    expected = made("validation", 10)
    batches = list(digit_scenes.evaluation_batches(number=10, batch_size=4))
    assert [len(images) for images, _, _ in batches] == [4, 4, 2]
    for name, values in (
        ("images", [images for images, _, _ in batches]),
        ("label_map", [labels["label_map"] for _, labels, _ in batches]),
        ("boxes", [labels["boxes"]["boxes"] for _, labels, _ in batches]),
        ("labels", [labels["boxes"]["labels"] for _, labels, _ in batches]),
        ("count", [labels["count"] for _, labels, _ in batches]),
    ):
        np.testing.assert_array_equal(np.concatenate(values), expected[name])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "val"}, "split='val'"),
        ({"targets": ["masks"]}, "masks"),
        ({"labelled": {"masks": 0.5}}, "masks"),
        ({"labelled": {"boxes": 1.5}}, "1.5"),
    ],
)
def test_errors_name_what_was_received(arguments, message):
    with pytest.raises(ValueError, match=message):
        digit_scenes.training_batches(**arguments, number=2)
