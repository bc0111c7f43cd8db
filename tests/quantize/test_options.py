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
