import json

import pytest
from hypothesis import given, settings
from strategies import configs

from mpi_vta.errors import ConfigError
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import HW_ROOT, find
from mpi_vta.hw.targets import target_names

USUAL = {
    "TARGET": "pynq",
    "HW_VER": "0.0.2",
    "LOG_INP_WIDTH": 3,
    "LOG_WGT_WIDTH": 3,
    "LOG_ACC_WIDTH": 5,
    "LOG_BATCH": 0,
    "LOG_BLOCK": 4,
    "LOG_UOP_BUFF_SIZE": 15,
    "LOG_INP_BUFF_SIZE": 15,
    "LOG_WGT_BUFF_SIZE": 18,
    "LOG_ACC_BUFF_SIZE": 17,
}

# name -> GEMM shape, depths (uop, inp, wgt, acc) as log2, bus, clock
SHIPPED = {
    "pynq_1x16": ((1, 16), (13, 11, 10, 11), 64, 100.0),
    "ultra96_1x16": ((1, 16), (13, 11, 10, 11), 128, 333.0),
    "zcu104_1x16": ((1, 16), (13, 11, 10, 11), 128, 333.0),
    "pynq_1x32": ((1, 32), (13, 10, 8, 10), 64, 100.0),
    "pynq_2x16": ((2, 16), (13, 10, 10, 10), 64, 100.0),
    "pynq_4x8": ((4, 8), (13, 11, 10, 11), 64, 100.0),
    "zcu102_1x16": ((1, 16), (13, 11, 10, 11), 128, 333.0),
    "kv260_1x16": ((1, 16), (13, 11, 10, 11), 128, 333.0),
    "pynq_zu_1x16": ((1, 16), (13, 11, 10, 11), 128, 333.0),
    # published bitstreams of the older instruction set
    "pynq_1x16_v001": ((1, 16), (13, 11, 10, 11), 64, 100.0),
    "pynq_4x8_v001": ((4, 8), (13, 11, 10, 11), 64, 100.0),
    "ultra96_1x16_v001": ((1, 16), (13, 11, 10, 11), 128, 333.0),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configuration_has_the_published_shape(name):
    config = VTAConfig.load(find("vta_configs", name, ".json"))
    shape, depths, bus_bits, clock_mhz = SHIPPED[name]
    assert (config.batch, config.block) == shape
    assert (config.log_uop_depth, config.log_inp_depth, config.log_wgt_depth, config.log_acc_depth) == depths
    assert (config.bus_bits, config.clock_mhz) == (bus_bits, clock_mhz)


def test_every_shipped_configuration_is_known_here():
    assert {path.stem for path in (HW_ROOT / "vta_configs").glob("*.json")} == set(SHIPPED)


def test_usual_build_has_its_usual_name_and_element_sizes():
    config = VTAConfig.from_dict(USUAL)
    assert config.name == "pynq_1x16_i8w8a32_15_15_18_17"
    assert (config.uop_bytes, config.inp_bytes, config.wgt_bytes, config.acc_bytes, config.out_bytes) == (
        4, 16, 256, 64, 16,
    )  # fmt: skip


@settings(deadline=None, max_examples=50)
@given(configs())
def test_configuration_survives_its_dictionary(config):
    assert VTAConfig.from_dict(config.to_dict()) == config
    assert config.legality_faults() == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"LOG_UOP_BUFF_SIZE": 16}, "the first GEMM word needs 65 bits"),
        ({"LOG_INP_BUFF_SIZE": 16}, "a micro-op needs 33 bits: acc 11 + src 12 + wgt 10"),
        ({"LOG_WGT_BUFF_SIZE": 19}, "a micro-op needs 33 bits: acc 11 + src 11 + wgt 11"),
        ({"LOG_ACC_BUFF_SIZE": 18}, "acc depth 2^12 exceeds inp depth 2^11"),
        ({"LOG_INP_BUFF_SIZE": 17}, "the second GEMM word needs 68 bits"),
        ({"LOG_ACC_BUFF_SIZE": 18, "LOG_WGT_BUFF_SIZE": 16}, "the second ALU word needs 68 bits"),
        ({"LOG_ACC_BUFF_SIZE": 6}, "acc buffer holds 2^0 elements"),
        ({"LOG_UOP_BUFF_SIZE": 19}, "a buffer deeper than 2^16 elements"),
        (
            {"TARGET": "vcu118"},
            f"TARGET is 'vcu118' (allowed: {', '.join(target_names())})",
        ),
        ({"TARGET": 7}, "TARGET is 7 (allowed: kv260, "),
        ({"TARGET": {}}, "TARGET is {} (allowed: kv260, "),
        ({"HW_VER": "0.0.0"}, "HW_VER is '0.0.0' (allowed: 0.0.1, 0.0.2)"),
        ({"HW_VER": 2}, "HW_VER is 2 (allowed: 0.0.1, 0.0.2)"),
        ({"HW_VER": []}, "HW_VER is [] (allowed: 0.0.1, 0.0.2)"),
        ({"LOG_INP_WIDTH": 4}, "LOG_INP_WIDTH is 4 (allowed: 3)"),
        ({"LOG_BATCH": -1}, "LOG_BATCH is -1 (allowed: 0..8)"),
        ({"LOG_BLOCK": True}, "LOG_BLOCK is True (allowed: 0..8)"),
        ({"LOG_BLOCK": "4"}, "LOG_BLOCK is '4' (allowed: 0..8)"),
        ({"LOG_OUT_WIDTH": 3}, "unknown key 'LOG_OUT_WIDTH'"),
    ],
)
def test_fault_is_named(change, fault):
    with pytest.raises(ConfigError) as caught:
        VTAConfig.from_dict(USUAL | change, where="my.json")
    assert fault in str(caught.value)
    assert str(caught.value).startswith("my.json: illegal VTA configuration")
    assert "docs/vta_configuration.md" in str(caught.value)


def test_all_faults_of_the_values_are_listed_at_once():
    data = USUAL | {"TARGET": "none", "LOG_ACC_WIDTH": 4, "NOISE": 1}
    del data["LOG_BATCH"]
    with pytest.raises(ConfigError) as caught:
        VTAConfig.from_dict(data)
    for part in ("TARGET is 'none'", "LOG_ACC_WIDTH is 4", "LOG_BATCH is None", "unknown key 'NOISE'"):
        assert part in str(caught.value)


def test_all_broken_legality_rules_are_listed_at_once():
    with pytest.raises(ConfigError) as caught:
        VTAConfig.from_dict(USUAL | {"LOG_UOP_BUFF_SIZE": 16, "LOG_ACC_BUFF_SIZE": 18})
    for part in ("a micro-op needs", "the first GEMM word needs", "the second GEMM word needs", "acc depth 2^12"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "cannot read the VTA configuration"), ("{", "not JSON"), ("[]", "not a JSON object")],
)
def test_unusable_file_is_reported(tmp_path, text, message):
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        VTAConfig.load(path)
    assert str(path) in str(caught.value)


def test_file_is_read(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(USUAL))
    assert VTAConfig.load(path) == VTAConfig.from_dict(USUAL)
