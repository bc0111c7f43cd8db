"""Which images a run gets."""

import numpy as np
import pytest
from PIL import Image

from mpi_vta.errors import InputError
from mpi_vta.job.inputs import read_inputs


def test_model_with_a_truth_gets_every_held_out_example(digits):
    inputs = read_inputs(digits, None, 0, with_data=True)
    assert inputs.integers.shape == (360, 1, 8, 8)
    assert inputs.integers.dtype == np.int8
    assert np.array_equal(inputs.truth.labels, digits.truth.labels)


def test_more_images_than_examples_begin_again(digits):
    inputs = read_inputs(digits, "362", 0, with_data=True)
    assert np.array_equal(inputs.integers[360:], inputs.integers[:2])
    assert inputs.truth.labels[360] == digits.truth.labels[0]


def test_pictures_of_a_folder_come_in_the_order_of_their_names(digits, tmp_path):
    for name, level in (("b", 255), ("a", 0)):
        Image.fromarray(np.full((8, 8, 3), level, np.uint8)).save(tmp_path / f"{name}.png")
    inputs = read_inputs(digits, str(tmp_path), 0, with_data=True)
    assert inputs.batch.names == ("a.png", "b.png")
    assert inputs.integers[0].max() < inputs.integers[1].min()
    assert inputs.truth is None


def test_run_without_data_needs_only_the_shape(digits):
    inputs = read_inputs(digits, "100000", 0, with_data=False)
    assert inputs.integers.shape == (100000, 1, 8, 8)
    assert inputs.integers.base.size == 1


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("0", "0 images; allowed: 1 or more"),
        ("-3", "-3 images"),
        ("nowhere", "no such picture"),
        ("99999999999", r"allowed: 1 to \d+, by the memory of this machine"),
    ],
)
@pytest.mark.parametrize("with_data", [True, False])
def test_images_that_are_not_there_are_refused(digits, images, message, with_data):
    with pytest.raises(InputError, match=message):
        read_inputs(digits, images, 0, with_data=with_data)
