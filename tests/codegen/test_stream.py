from __future__ import annotations

from codegen.execution import config_named
from mpi_vta.codegen.stream import Access, Stream
from mpi_vta.isa.table import MemoryType, Opcode, Unit

INP = {"memory_type": MemoryType.INP}
OUT = {"memory_type": MemoryType.OUT}


def flags(stream: Stream, index: int) -> set[str]:
    return {name for name, value in stream.entries[index].fields.items() if name[:3] in ("pop", "pus") and value}


def new_stream() -> Stream:
    return Stream(config_named("pynq_1x16"), 1000)


def test_a_reader_waits_for_the_loads_it_reads() -> None:
    stream = new_stream()
    load = stream.emit(Opcode.LOAD, INP, writes=[Access("inp", 0, 10)])
    gemm = stream.emit(Opcode.GEMM, {}, reads=[Access("inp", 5, 6)])
    assert flags(stream, load) == {"push_next"}
    assert flags(stream, gemm) == {"pop_prev"}


def test_untouched_ranges_need_no_token() -> None:
    stream = new_stream()
    load = stream.emit(Opcode.LOAD, INP, writes=[Access("inp", 0, 10)])
    gemm = stream.emit(Opcode.GEMM, {}, reads=[Access("inp", 10, 20)])
    assert flags(stream, load) == flags(stream, gemm) == set()


def test_a_later_token_orders_earlier_work_too() -> None:
    stream = new_stream()
    first = stream.emit(Opcode.LOAD, INP, writes=[Access("inp", 0, 10)])
    second = stream.emit(Opcode.LOAD, INP, writes=[Access("inp", 10, 20)])
    stream.emit(Opcode.GEMM, {}, reads=[Access("inp", 10, 20)])
    again = stream.emit(Opcode.GEMM, {}, reads=[Access("inp", 0, 10)])
    assert flags(stream, first) == set()
    assert flags(stream, second) == {"push_next"}
    assert flags(stream, again) == set()


def test_a_slot_is_refilled_after_its_last_use() -> None:
    stream = new_stream()
    stream.emit(Opcode.LOAD, INP, writes=[Access("inp", 0, 10)])
    gemm = stream.emit(Opcode.GEMM, {}, reads=[Access("inp", 0, 10)])
    refill = stream.emit(Opcode.LOAD, INP, writes=[Access("inp", 0, 4)])
    assert "push_prev" in flags(stream, gemm)
    assert flags(stream, refill) == {"pop_next"}


def test_a_load_of_stored_data_waits_through_the_compute_unit() -> None:
    stream = new_stream()
    stream.emit(Opcode.GEMM, {}, writes=[Access("out", 0, 4)])
    store = stream.emit(Opcode.STORE, OUT, reads=[Access("out", 0, 4)], writes=[Access("dram", 0, 4)])
    load = stream.emit(Opcode.LOAD, INP, reads=[Access("dram", 3, 5)], writes=[Access("inp", 0, 2)])
    relay = load - 1
    assert stream.entries[relay].unit == Unit.COMPUTE
    assert "push_prev" in flags(stream, store)
    assert flags(stream, relay) == {"pop_next", "push_prev"}
    assert flags(stream, load) == {"pop_next"}


def test_one_relay_serves_all_earlier_stores() -> None:
    stream = new_stream()
    for low in (0, 4):
        stream.emit(Opcode.GEMM, {}, writes=[Access("out", low, low + 4)])
        stream.emit(Opcode.STORE, OUT, reads=[Access("out", low, low + 4)], writes=[Access("dram", low, low + 4)])
    stream.emit(Opcode.LOAD, INP, reads=[Access("dram", 4, 8)], writes=[Access("inp", 0, 4)])
    count = len(stream.entries)
    stream.emit(Opcode.LOAD, INP, reads=[Access("dram", 0, 4)], writes=[Access("inp", 4, 8)])
    assert len(stream.entries) == count + 1


def test_finish_waits_for_the_last_store() -> None:
    stream = new_stream()
    stream.emit(Opcode.GEMM, {}, writes=[Access("out", 0, 4)])
    store = stream.emit(Opcode.STORE, OUT, reads=[Access("out", 0, 4)], writes=[Access("dram", 0, 4)])
    stream.finish()
    assert "push_prev" in flags(stream, store)
    assert flags(stream, -1) == {"pop_next"}
