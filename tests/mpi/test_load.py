"""Long and wide jobs under mpirun: memory that stays, and more ranks than any cluster file has."""

import json
from pathlib import Path

import pytest
from summaries import only_model

ROOT = Path(__file__).parents[2]
# resident memory moves in pages and by the allocator's habits; one record of 100 bytes per image would be 900 kB
MOST_GROWTH_BYTES = 800_000
# now and then one rank takes that much at once, however long the job is
STEP_BYTES, MOST_STEPS = 2_000_000, 3
RANK_0_TIMES_BYTES = 28  # what rank 0 has to keep per image
RANK_0_NOTES_BYTES = 3_200_000  # MPI's own buffers for the notes of all ranks: they grow for a while, then stay


@pytest.mark.long
@pytest.mark.mpi
def test_memory_of_17_ranks_stays_over_10_000_images(start):
    ended = start(0, ROOT / "benchmarks" / "load.py", "--json", timeout_s=1800)
    assert ended.status == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert len(found["ranks"]) == 17
    grown = [row["end_bytes"] - row["warm_bytes"] for row in found["ranks"]]
    grown[0] -= RANK_0_TIMES_BYTES * found["counted_images"] + RANK_0_NOTES_BYTES
    assert max(grown) <= MOST_GROWTH_BYTES + STEP_BYTES, grown
    assert sum(size > MOST_GROWTH_BYTES for size in grown) <= MOST_STEPS, grown


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("ranks", "model"),
    [
        pytest.param(64, "digits", marks=pytest.mark.slow),
        pytest.param(64, "resnet18", marks=pytest.mark.long),
        pytest.param(128, "digits", marks=pytest.mark.long),
    ],
)
def test_many_more_ranks_than_cores_start_run_and_end_under_the_default_watchdog(start, ranks, model):
    arguments = ("-m", "mpi_vta.pipeline", "--model", model, "--strategy", "scatter-gather", "--device", "timing")
    ended = start(ranks, *arguments, "--images", 2 * ranks, "--json", timeout_s=1800)
    assert ended.status == 0, ended.stderr
    summary = only_model(ended.stdout)
    assert summary["ranks"] == ranks
    # no more boards than help; all ranks start, stay and end with the others
    assert {stage["rank"] for stage in summary["stages"]} <= set(range(ranks))
    assert len(summary["stages"]) >= ranks // 2


@pytest.mark.mpi
def test_verified_messages_give_the_same_outputs(start):
    arguments = ("-m", "mpi_vta.pipeline", "--model", "digits", "--images", "12", "--json")
    plain, verified = (start(3, *arguments, *more) for more in (("--no-verify",), ("--verify",)))
    assert verified.status == 0, verified.stderr
    first, second = only_model(plain.stdout), only_model(verified.stdout)
    for name in ("output_sha256", "throughput_images_per_s", "latency_ms"):
        assert first[name] == second[name]


@pytest.mark.slow
@pytest.mark.mpi
@pytest.mark.parametrize(
    ("name", "content", "option"),
    [
        ("bad.onnx", b"\x08\x07\xff\xff", "--model"),
        ("bad.json", b'{"TARGET": [1]}', "--config"),
        ("bad.toml", b"name = [[", "--cluster"),
        ("bad.plan", b'{"format": "plan", "version": 1, "stages": 3}', "--plan"),
        ("bad.npz", b"PK\x03\x04 no zip", "--weights"),
        ("bad.png", b"\x89PNG\r\n\x1a\n cut", "--images"),
    ],
)
def test_a_bad_file_is_one_line_and_a_status(start, tmp_path, name, content, option):
    path = tmp_path / name
    path.write_bytes(content)
    model = () if option == "--model" else ("--model", "digits")
    ended = start(2, "-m", "mpi_vta.pipeline", *model, option, path)
    assert ended.status != 0
    (line,) = ended.error_lines[-1:]
    assert line.startswith("mpi_vta: error: ")
    assert name in line
    assert "Traceback" not in ended.stderr
    assert sum("error: " in each for each in ended.error_lines) == 1
