"""What MPICH leaves behind: this user's files of jobs that are gone, and no others."""

import os
import time
from pathlib import Path

import pytest

from mpi_vta.runtime.faults import leftovers
from mpi_vta.runtime.faults.leftovers import leave_nothing_behind, sweep

OLD_S = 3600


@pytest.fixture
def folders(tmp_path, monkeypatch):
    shared, temporary = tmp_path / "shm", tmp_path / "tmp"
    for folder in (shared, temporary):
        folder.mkdir()
    monkeypatch.setattr(leftovers, "SHARED_MEMORY", shared)
    monkeypatch.setattr(leftovers, "TEMPORARY", temporary)
    monkeypatch.setattr(leftovers, "_mapped_by", lambda processes: set())
    monkeypatch.setattr(leftovers, "_proxies", lambda: [])
    return shared, temporary


def made(path, age_s=OLD_S):
    path.write_bytes(b"x")
    at_s = time.time() - age_s
    os.utime(path, (at_s, at_s))
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files_of_jobs_that_are_gone_are_removed(folders):
    shared, temporary = folders
    made(shared / "mpich_shm_bff4d95e_0")
    made(shared / "mpich_shar_tmpAb3xY1")
    made(temporary / "hydra_hwloc_xmlfile_Zg13PB")
    sweep()
    assert names(shared) == names(temporary) == []


@pytest.mark.parametrize("name", ["mpich_shm_x", "mpich_shm_bff4d95e_0.txt", "my_mpich_shm_bff4d95e_0", "sem.x"])
def test_files_of_other_names_stay(folders, name):
    shared, temporary = folders
    for folder in folders:
        made(folder / name)
    sweep()
    assert names(shared) == names(temporary) == [name]


def test_links_folders_and_files_of_others_stay(folders, monkeypatch):
    shared, _ = folders
    target = made(shared / "target")
    (shared / "mpich_shm_00_0").symlink_to(target)
    (shared / "mpich_shm_01_0").mkdir()
    sweep()
    assert names(shared) == ["mpich_shm_00_0", "mpich_shm_01_0", "target"]
    made(shared / "mpich_shm_02_0")
    uid = os.getuid()
    monkeypatch.setattr(leftovers.os, "getuid", lambda: uid + 1)
    sweep()
    assert "mpich_shm_02_0" in names(shared)


def test_memory_that_a_process_uses_or_may_be_about_to_use_stays(folders, monkeypatch):
    shared, _ = folders
    used, gone = (made(shared / f"mpich_shm_{name}_0") for name in ("0a", "0b"))
    made(shared / "mpich_shm_0c_0", age_s=5)
    monkeypatch.setattr(leftovers, "_mapped_by", lambda processes: {used})
    sweep()
    assert names(shared) == ["mpich_shm_0a_0", "mpich_shm_0c_0"]
    assert not gone.exists()


@pytest.mark.parametrize(("started_before_s", "stays"), [(10, True), (290, True), (400, False), (-10, False)])
def test_file_that_a_living_launcher_may_have_made_stays(folders, monkeypatch, started_before_s, stays):
    _, temporary = folders
    made(temporary / "hydra_hwloc_xmlfile_Zg13PB")
    monkeypatch.setattr(leftovers, "_proxies", lambda: [(4, time.time() - OLD_S - started_before_s)])
    sweep()
    assert bool(names(temporary)) is stays


@pytest.mark.parametrize("another_job", [False, True])
def test_first_rank_of_a_host_removes_its_own_jobs_names(folders, monkeypatch, another_job):
    shared, temporary = folders
    mine = made(shared / "mpich_shm_0a_0", age_s=1)
    other = made(shared / "mpich_shm_0b_0", age_s=1)
    topology = made(temporary / "hydra_hwloc_xmlfile_Zg13PB", age_s=1)
    monkeypatch.setattr(leftovers, "_mapped_by", lambda processes: {mine})
    own_proxy = leftovers.status_of(os.getppid()).parent
    started = [(own_proxy, time.time() - 2), *([(5, time.time() - 2)] if another_job else [])]
    monkeypatch.setattr(leftovers, "_proxies", lambda: started)
    for environ in ({}, {"MPI_LOCALRANKID": "1"}):
        leave_nothing_behind(environ)
        assert mine.exists()
    leave_nothing_behind({"MPI_LOCALRANKID": "0"})
    assert not mine.exists()
    assert other.exists()
    assert topology.exists() is another_job


def test_own_maps_are_read():
    name = Path("/dev/shm") / f"mpi_vta-test-{os.getpid()}"
    import mmap

    name.write_bytes(bytes(4096))
    try:
        with open(name, "r+b") as file, mmap.mmap(file.fileno(), 4096):
            assert name in leftovers._mapped_by([os.getpid()])
        assert name not in leftovers._mapped_by([os.getpid()])
    finally:
        name.unlink()
    assert os.getpid() in leftovers._own_processes()
