import pytest

from mpi_vta.errors import InputError
from mpi_vta.quantize.options import QuantizeOptions


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("calibration", "--calibration: 'best'; allowed: minmax, percentile, mse"),
        ("per_channel", "--per-channel: 'best'; allowed: auto, always, never"),
        ("equalize", "--equalize: 'best'; allowed: auto, always, never"),
        ("bias_correction", "--bias-correction: 'best'; allowed: on, off"),
    ],
)
def test_a_choice_that_there_is_not_is_refused(name, message):
    with pytest.raises(InputError) as caught:
        QuantizeOptions(**{name: "best"})
    assert message in str(caught.value)


def test_extents_are_whole_numbers():
    assert QuantizeOptions(input_shape=[1, 3, 8, 8]).input_shape == (1, 3, 8, 8)
    with pytest.raises(InputError, match=r"--input-shape: \(1, 0\); allowed: whole numbers, such as 1,3,224,224"):
        QuantizeOptions(input_shape=(1, 0))
