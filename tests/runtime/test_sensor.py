"""Power sensors as hwmon shows them."""

import pytest

from mpi_vta.runtime.devices.sensor import find_sensor


def chip(root, index, name, **files):
    folder = root / f"hwmon{index}"
    folder.mkdir()
    for key, text in {"name": name, **files}.items():
        (folder / key).write_text(f"{text}\n")


def test_board_without_a_sensor_has_none(tmp_path):
    chip(tmp_path, 0, "ina226")
    chip(tmp_path, 1, "iio_hwmon", in1_input=5)
    assert find_sensor(tmp_path) is None
    assert find_sensor(tmp_path / "absent") is None


def test_ina_chip_gives_the_board_s_power_and_wins_over_regulators(tmp_path):
    chip(tmp_path, 0, "irps5401", power1_label="pin1", power1_input=99)
    chip(tmp_path, 1, "ina226", power1_input=12_500_000)
    sensor = find_sensor(tmp_path)
    assert (sensor.name, sensor.watts()) == ("ina226 (1 channel)", 12.5)


def test_regulators_add_their_input_power_alone(tmp_path):
    chip(tmp_path, 0, "irps5401", power1_label="pin1", power1_input=1_500_000, power2_label="pout1", power2_input=7)
    chip(tmp_path, 1, "irps5401", power1_label="pin", power1_input=500_000)
    sensor = find_sensor(tmp_path)
    assert (sensor.name, sensor.watts()) == ("PMBus input power (2 channels)", 2.0)


def test_chip_that_does_not_answer_is_an_oserror(tmp_path):
    chip(tmp_path, 0, "ina226", power1_input=1)
    sensor = find_sensor(tmp_path)
    sensor.inputs[0].unlink()
    with pytest.raises(OSError, match="power1_input"):
        sensor.watts()
