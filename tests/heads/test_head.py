import pytest

from mtl_zoo.heads.head import Head, check_class_names


def test_decode_is_to_be_written():
    with pytest.raises(NotImplementedError, match="Head does not define it"):
        Head().decode(None)


def test_class_names():
    assert check_class_names(None, 3) is None
    assert check_class_names(["a", "b"], 2) == ("a", "b")
    with pytest.raises(ValueError, match=r"each of the 3 classes. Received 2"):
        check_class_names(["a", "b"], 3)
