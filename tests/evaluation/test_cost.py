"""What a shared trunk saves, on a model for texts."""

from mtl_zoo import architectures
from mtl_zoo.evaluation.cost import cost
from tests.zoo import tiny_text


def test_texts_as_a_list_of_strings():
    model = tiny_text.model()
    alone = {}
    for task in tiny_text.tasks():
        alone[task.name] = architectures.HardSharing(tiny_text.trunk(), [task])
        alone[task.name].build((None,))
    found = cost(model, alone, ["Jane saw the film in Oslo!"], rounds=3)
    assert 0.5 < found["parameters"]["ratio"] < 0.8
    assert found["latency_ms"]["multi_task"] > 0
