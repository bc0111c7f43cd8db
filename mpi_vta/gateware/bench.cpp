// The Verilated core behind a C interface: a clock, an AXI memory of stated latency and bandwidth, register accesses.
#include "Vvta_core.h"
#include "verilated.h"
#include <cstdint>
#include <cstring>
#include <deque>

namespace {

constexpr unsigned BUS_BYTES = BUS_BITS / 8;

struct Burst {
    uint64_t address, ready;
    unsigned beats, size;
};

struct Bench {
    VerilatedContext context;
    Vvta_core core{&context};
    uint8_t *memory;
    uint64_t bytes, latency, beat_cycles, write_latency;
    uint64_t cycle = 0, read_free = 0, write_free = 0;
    uint64_t read_beats = 0, write_beats = 0;
    unsigned violations = 0, at = 0;
    std::deque<Burst> reads, writes;
    std::deque<uint64_t> answers;

    explicit Bench(uint8_t *m, uint64_t n, uint64_t l, uint64_t b, uint64_t w)
        : memory(m), bytes(n), latency(l), beat_cycles(b), write_latency(w) {
        core.rst = 1;
        core.s_axi_bready = core.s_axi_rready = 1;
        core.s_axi_wstrb = 15;
        core.m_axi_awready = 1;
        for (int i = 0; i < 4; i++) tick();
        core.rst = 0;
    }

    // what AXI4 forbids: a burst over a 4 KiB border, an address that is no multiple of a beat, what is not there
    void check(uint64_t address, unsigned beats, unsigned size, unsigned kind) {
        uint64_t last = address + (uint64_t(beats) << size) - 1;
        if (address >> 12 != last >> 12 || kind != 1 || 1u << size > BUS_BYTES || address % (1u << size)) violations |= 1;
        if (last >= bytes) violations |= 2;
    }

    void tick() {
        bool reading = !reads.empty() && reads.front().ready <= cycle;
        core.m_axi_arready = 1;
        core.m_axi_rvalid = reading;
        if (reading) {
            const Burst &burst = reads.front();
            uint64_t address = burst.address & ~uint64_t(BUS_BYTES - 1);
            core.m_axi_rlast = burst.beats == 1;
            if (address + BUS_BYTES <= bytes) std::memcpy(&core.m_axi_rdata, memory + address, BUS_BYTES);
        }
        core.m_axi_wready = write_free <= cycle;
        core.m_axi_bvalid = !answers.empty() && answers.front() <= cycle;
        core.clk = 0;
        core.eval();
        if (core.m_axi_arvalid && core.m_axi_arready) {
            uint64_t ready = cycle + latency;
            unsigned beats = core.m_axi_arlen + 1u;
            check(core.m_axi_araddr, beats, core.m_axi_arsize, core.m_axi_arburst);
            if (ready < read_free) ready = read_free;
            read_free = ready + beats * beat_cycles;
            reads.push_back({core.m_axi_araddr, ready, beats, core.m_axi_arsize});
        }
        if (reading && core.m_axi_rready) {
            Burst &burst = reads.front();
            read_beats++;
            burst.address += uint64_t(1) << burst.size;
            burst.ready += beat_cycles;
            if (--burst.beats == 0) reads.pop_front();
        }
        if (core.m_axi_awvalid && core.m_axi_awready) {
            check(core.m_axi_awaddr, core.m_axi_awlen + 1u, core.m_axi_awsize, core.m_axi_awburst);
            writes.push_back({core.m_axi_awaddr, 0, core.m_axi_awlen + 1u, core.m_axi_awsize});
        }
        if (core.m_axi_wvalid && core.m_axi_wready) {
            if (writes.empty()) {
                violations |= 4;
            } else {
                Burst &burst = writes.front();
                uint64_t address = burst.address & ~uint64_t(BUS_BYTES - 1);
                const uint8_t *data = reinterpret_cast<const uint8_t *>(&core.m_axi_wdata);
                for (unsigned i = 0; i < BUS_BYTES; i++)
                    if ((core.m_axi_wstrb >> i) & 1 && address + i < bytes) memory[address + i] = data[i];
                write_beats++;
                write_free = cycle + beat_cycles;
                burst.address += uint64_t(1) << burst.size;
                if ((burst.beats == 1) != bool(core.m_axi_wlast)) violations |= 4;
                if (--burst.beats == 0) {
                    writes.pop_front();
                    answers.push_back(cycle + write_latency);
                }
            }
        }
        if (core.m_axi_bvalid && core.m_axi_bready) answers.pop_front();
        core.clk = 1;
        core.eval();
        cycle++;
    }

    void write(uint32_t address, uint32_t value) {
        core.s_axi_awaddr = address;
        core.s_axi_wdata = value;
        core.s_axi_awvalid = core.s_axi_wvalid = 1;
        tick();
        core.s_axi_awvalid = core.s_axi_wvalid = 0;
        tick();
    }

    uint32_t read(uint32_t address) {
        core.s_axi_araddr = address;
        core.s_axi_arvalid = 1;
        tick();
        core.s_axi_arvalid = 0;
        uint32_t value = core.s_axi_rdata;
        tick();
        return value;
    }
};

}  // namespace

extern "C" {
void *core_open(uint8_t *memory, uint64_t bytes, uint64_t latency, uint64_t beat_cycles, uint64_t write_latency) {
    return new Bench(memory, bytes, latency, beat_cycles, write_latency);
}
void core_close(void *bench) { delete static_cast<Bench *>(bench); }
void core_step(void *bench, uint64_t cycles) {
    while (cycles--) static_cast<Bench *>(bench)->tick();
}
void core_write(void *bench, uint32_t address, uint32_t value) { static_cast<Bench *>(bench)->write(address, value); }
uint32_t core_read(void *bench, uint32_t address) { return static_cast<Bench *>(bench)->read(address); }
uint64_t core_cycle(void *bench) { return static_cast<Bench *>(bench)->cycle; }
uint32_t core_violations(void *bench) { return static_cast<Bench *>(bench)->violations; }
}
