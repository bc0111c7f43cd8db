"""Every kind of file that comes from outside: how a damaged one is made from a seed, and what reads it."""

from __future__ import annotations

import functools
import io
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fuzz.mutations import ODD_VALUES, damaged_bytes, damaged_value, damaged_zip, to_toml
from mpi_vta import artifact
from mpi_vta.errors import GraphError, MpiVtaError
from mpi_vta.hw.toml_table import tomllib

ROOT = Path(__file__).parents[2]
HW = ROOT / "hw"


@dataclass(frozen=True)
class Target:
    """A kind of file.

    Attributes
    ----------
    name : str
        Of the file that is made.
    make : callable
        From a random generator and the path to write.
    read : callable
        From the path; ends normally or with an `MpiVtaError`.
    share : int
        Inputs of this kind among 100 in the slow test.
    """

    name: str
    make: Callable[[random.Random, Path], None]
    read: Callable[[Path], object]
    share: int


def text_maker(seeds: tuple[Path, ...], parse: Callable[[str], Any], write: Callable[[Any], str]) -> Any:
    """Return a maker of text files: half with changed values, half with changed bytes."""

    def make(rng: random.Random, path: Path) -> None:
        text = rng.choice(seeds).read_text()
        if rng.random() < 0.7:
            changed = damaged_value(rng, parse(text))
            text = write(changed) if isinstance(changed, dict) else json.dumps(changed)
            path.write_text(text, encoding="utf-8", errors="surrogatepass")
        else:
            path.write_bytes(damaged_bytes(rng, text.encode()))

    return make


def toml_maker(*seeds: Path) -> Any:
    return text_maker(seeds, tomllib.loads, to_toml)


def json_maker(*seeds: Path) -> Any:
    return text_maker(seeds, json.loads, json.dumps)


def binary_maker(whole: Callable[[], bytes], *others: Callable[[random.Random, bytes], bytes]) -> Any:
    """Return a maker that damages bytes, or does one of the other things to them."""

    def make(rng: random.Random, path: Path) -> None:
        path.write_bytes(rng.choice((damaged_bytes, *others))(rng, whole()))

    return make


_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []  # kept until the process ends


def temporary() -> Path:
    _FOLDERS.append(tempfile.TemporaryDirectory(prefix="fuzz-seed-"))
    return Path(_FOLDERS[-1].name)


# --- plans, programs, graphs ---------------------------------------------------------------------------------------


@functools.cache
def small_problem() -> Any:
    from schedule_cases import FakeCosts, chain

    from mpi_vta.hw.cluster import Cluster
    from mpi_vta.schedule.problem import Problem

    graph = chain(6, {3: 0})
    return Problem(graph, Cluster.default(3), 8, FakeCosts(graph, {node.name: 1000 for node in graph.nodes}))


def read_plan(path: Path) -> object:
    from mpi_vta.job.planning import PlanWishes, plan_from_file

    return plan_from_file(PlanWishes("pipeline", file=path), small_problem())


@functools.cache
def small_graph() -> Any:
    from graph_strategies import GraphBuilder

    builder = GraphBuilder("int8", np.random.default_rng(0))
    value = builder.input((1, 16, 6, 6), 0)
    attrs = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "groups": 1, "leaky": None}
    attrs |= {"residual_shift": 0, "shift": 8, "lo": -128, "hi": 127}
    for _ in range(2):
        params = {"weight": builder.int8_weights((16, 16, 3, 3)), "bias": np.zeros(16, np.int32)}
        value = builder.add("conv2d", (value,), attrs, params, 0)
    return builder.build()


@functools.cache
def program_bytes() -> bytes:
    from mpi_vta.codegen.compiler import compile_graph
    from mpi_vta.hw.config import VTAConfig

    return compile_graph(small_graph(), VTAConfig.load(HW / "vta_configs" / "pynq_1x16.json")).to_bytes()


@functools.cache
def graph_bytes() -> bytes:
    return small_graph().to_bytes()


def resealed(kind: str, version: int) -> Callable[[random.Random, bytes], bytes]:
    """Return a damage of an artifact's header or arrays after which its hash is right again."""

    def damage(rng: random.Random, data: bytes) -> bytes:
        header, arrays = artifact.unpack(data, kind, version, "seed")
        if rng.random() < 0.7:
            header = damaged_value(rng, header)
        else:
            name = rng.choice(list(arrays))
            arrays[name] = odd_array(rng, arrays[name])
        header = header if isinstance(header, dict) else {"x": 1}
        return artifact.pack(kind, version, header, arrays)

    return damage


def odd_array(rng: random.Random, array: Any) -> Any:
    match rng.randrange(5):
        case 0:
            return array[: rng.randrange(len(array) + 1)] if array.ndim else array
        case 1:
            return array.astype(rng.choice((np.int8, np.float64, np.uint32, np.int64)))
        case 2:
            return array.reshape(-1)
        case 3:
            flat = np.array(array)
            view = flat.reshape(-1).view(np.uint8)
            if view.size:
                for _ in range(4):
                    view[rng.randrange(view.size)] = rng.randrange(256)
            return flat
        case _:
            return np.zeros((0, 3, 2), np.uint8)


def command(run: Callable[[list[str]], int], *before: str, after: tuple[str, ...] = ()) -> Callable[[Path], object]:
    """Return what runs a command in this process; a refusal must be one line that names the file."""

    def read(path: Path) -> object:
        import contextlib

        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = run([*before, str(path), *after])
        lines = err.getvalue().splitlines()
        if status == 2:
            assert len(lines) == 1, lines
            assert "error: " in lines[0], lines
            raise MpiVtaError(lines[0], where=str(path), remedy="printed")
        assert not lines, lines
        return status

    return read


def read_program(path: Path) -> object:
    from mpi_vta.inspect import main

    return command(main, "replay", after=("--check",))(path)


def read_graph(path: Path) -> object:
    from mpi_vta.graph.ir import Graph
    from mpi_vta.graph.verify import verify

    graph = Graph.from_bytes(path.read_bytes(), str(path))
    try:
        verify(graph)
    except GraphError as fault:
        # the rule that is broken is named; there is no file in which a user could mend it
        raise GraphError(fault.what, where=fault.where, remedy="make it again") from fault
    return graph


# --- vectors, weights, pictures ------------------------------------------------------------------------------------


@functools.cache
def vector_bytes() -> bytes:
    from mpi_vta.codegen.program import Program
    from mpi_vta.simulator.replay import make_vector
    from mpi_vta.simulator.vectors import Extent

    program = Program.from_bytes(program_bytes())
    initial = [Extent(program.default_bases[name], content) for name, content in program.data.items()]
    outputs = [(program.default_bases[binding.segment], binding.size_bytes) for binding in program.outputs]
    path = temporary() / "seed.npz"
    make_vector(program.config, program.link(program.default_bases), initial, outputs).save(path)
    return path.read_bytes()


def read_vector(path: Path) -> object:
    return read_program(path)


@functools.cache
def weights_bytes() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **{"conv1.weight": np.ones((4, 1, 3, 3), np.float32), "fc.bias": np.zeros(10, np.float32)})
    return stream.getvalue()


def read_weights_file(path: Path) -> object:
    from mpi_vta.frontend.models import read_weights

    return read_weights(path)


@functools.cache
def darknet_bytes() -> bytes:
    from mpi_vta.frontend.darknet import YOLOV3_TINY_CONVOLUTIONS

    size = 20 + 4 * sum(layer.size for layer in YOLOV3_TINY_CONVOLUTIONS)
    return (np.array([0, 2, 0, 0, 0], "<i4").tobytes()).ljust(size, b"\0")


def make_darknet(rng: random.Random, path: Path) -> None:
    """Damage the header or the length: each byte behind it is some number."""
    data = bytearray(darknet_bytes())
    if rng.random() < 0.5:
        data[rng.randrange(20)] = rng.randrange(256)
    else:
        del data[rng.choice((rng.randrange(64), rng.randrange(len(data)), len(data) - rng.randrange(1, 9))) :]
    path.write_bytes(data)


@functools.cache
def pictures() -> tuple[bytes, ...]:
    from PIL import Image

    picture = Image.fromarray((np.arange(32 * 24 * 3) % 251).astype(np.uint8).reshape(24, 32, 3))
    found = []
    for kind in ("PNG", "JPEG", "BMP", "GIF", "TIFF", "PPM", "WEBP"):
        stream = io.BytesIO()
        picture.save(stream, kind)
        found.append(stream.getvalue())
    return tuple(found)


def make_picture(rng: random.Random, path: Path) -> None:
    path.write_bytes(damaged_bytes(rng, rng.choice(pictures())))


def read_picture_file(path: Path) -> object:
    from mpi_vta.frontend.images import Preprocess, load_images

    return load_images(path, Preprocess(3, 16, 16, "crop", (0.0,) * 3, (1.0,) * 3))


CFG = """[net]
width=16
height=16
channels=3
[convolutional]
batch_normalize=1
filters=4
size=3
stride=1
pad=1
activation=leaky
[maxpool]
size=2
stride=2
[convolutional]
filters=8
size=1
stride=1
pad=1
activation=linear
[route]
layers=-1,-2
[upsample]
stride=2
"""


def make_cfg(rng: random.Random, path: Path) -> None:
    """Change a value, a line or a byte."""
    lines = CFG.splitlines()
    at = rng.randrange(len(lines))
    match rng.randrange(5):
        case 0 | 1 if "=" in lines[at]:
            value = rng.choice(("0", "-1", "1", "3", "99", "4294967296", "9" * 5000, "1e9", "x", "", "-1,-9", "nan"))
            lines[at] = f"{lines[at].split('=')[0]}={value}"
        case 2:
            del lines[at]
        case 3:
            lines.insert(rng.randrange(len(lines)), lines[at])
        case _:
            path.write_bytes(damaged_bytes(rng, CFG.encode()))
            return
    path.write_text("\n".join(lines))


def read_cfg_file(path: Path) -> object:
    from mpi_vta.frontend.darknet_cfg import read_cfg
    from mpi_vta.frontend.darknet_layers import build_cfg
    from mpi_vta.frontend.onnx_import import import_model

    return import_model(build_cfg(read_cfg(path), 0, None), "net", str(path))


# --- traces --------------------------------------------------------------------------------------------------------


@functools.cache
def trace_folder() -> Path:
    from trace_cases import write_run

    folder = temporary()
    write_run(folder)
    return folder


def make_trace(rng: random.Random, path: Path) -> None:
    """Damage bytes, which the seal finds; or change the content and seal it again."""
    from mpi_vta.trace.seal import seal

    whole = trace_folder() / "run.h5"
    if rng.random() < 0.4:
        path.write_bytes(damaged_bytes(rng, whole.read_bytes()))
        return
    shutil.copyfile(whole, path)
    with h5py.File(path, "a") as file:
        if rng.random() < 0.3:
            damage_attribute(rng, file, rng.choice(list(provenance_of_trace())))
        else:
            for _ in range(rng.choice((1, 1, 2))):
                damage_hdf5(rng, file)
    seal(path)


def provenance_of_trace() -> dict[str, object]:
    from trace_cases import provenance

    return provenance()


def damage_hdf5(rng: random.Random, file: h5py.File) -> None:
    places: list[Any] = [file]
    file.visititems(lambda name, each: places.append(each))
    place = rng.choice(places)
    if place.attrs and rng.random() < 0.4:
        damage_attribute(rng, place)
    elif isinstance(place, h5py.Dataset):
        damage_dataset(rng, place)
    elif len(place) and rng.random() < 0.5:
        name = rng.choice(list(place))
        if rng.random() < 0.5:
            place.move(name, "moved")
        else:
            del place[name]
    elif "loop" not in place:
        place["loop"] = file


def damage_attribute(rng: random.Random, place: Any, name: str = "") -> None:
    name = name or rng.choice(list(place.attrs))
    value = rng.choice([v for v in ODD_ATTRIBUTES if not isinstance(v, str) or "\x00" not in v])
    if rng.random() < 0.2:
        del place.attrs[name]
    else:
        place.attrs[name] = value


ODD_ATTRIBUTES: tuple[Any, ...] = (
    *(0, -1, 2**40, 1.5, float("nan"), float("inf"), "", "x", "ä" * 300, b"\xff\xfe"),
    *(np.zeros(0), np.zeros((2, 2)), np.array([1, 2]), np.array(["a", "b"], dtype=object), h5py.Empty("f4"), True),
)


def damage_dataset(rng: random.Random, place: h5py.Dataset) -> None:
    parent, name = place.parent, place.name.rsplit("/", 1)[1]
    attributes = dict(place.attrs)
    how = rng.randrange(6)
    if place.dtype.names is None:
        text = place.asstr()[()] if h5py.check_string_dtype(place.dtype) else "{}"
        value = json.dumps(damaged_value(rng, json.loads(text))) if how else rng.choice(("", "x", "[]", "[" * 9999))
        del parent[name]
        parent[name] = value
        return
    if place.size > 1000:
        return
    rows = place[:]
    del parent[name]
    if how == 0:
        parent.create_dataset(name, shape=(rng.choice((64, 10**9, 10**13)),), dtype=rows.dtype, chunks=(64,))
    elif how == 1:
        parent.create_dataset(name, data=np.zeros(3, rng.choice((np.int8, np.float64))))
    elif how == 2:
        field = rng.choice(rows.dtype.names)
        changed = [(f, "<f4" if f == field else rows.dtype[f]) for f in rows.dtype.names]
        parent.create_dataset(name, data=rows.astype(changed))
    elif how == 3:
        parent.create_dataset(name, data=rows[: rng.randrange(len(rows) + 1)])
    else:
        field = rng.choice(rows.dtype.names)
        if len(rows):
            odd = rng.choice((0, -1, 1, 99, 2**31 - 1, 2**62, -(2**63)))
            kept = odd if rows.dtype[field].kind == "f" else np.array([odd]).astype(rows.dtype[field])[0]
            rows[field][rng.randrange(len(rows))] = kept
        parent.create_dataset(name, data=rows)
    parent[name].attrs.update(attributes)


def read_trace(path: Path) -> object:
    from mpi_vta.trace.__main__ import main

    return command(main, "summary")(path)


def read_whole_trace(path: Path) -> object:
    """Read a trace, and make the files of it that show the provenance."""
    from mpi_vta.trace.__main__ import main
    from mpi_vta.trace.reader import read
    from mpi_vta.trace.report import report_html
    from mpi_vta.trace.run import Run

    read_trace(path)
    command(main, "export", after=("--output", str(path.with_name("made.json"))))(path)
    return report_html(Run(read(path)), ())


@functools.cache
def study_file() -> Path:
    from study_cases import study_of, throughput_rows

    from mpi_vta.trace.study_file import write_study

    path = temporary() / "study.h5"
    write_study(path, study_of(throughput_rows()))
    return path


def make_study(rng: random.Random, path: Path) -> None:
    """Damage bytes, which the seal finds; or change a column or an attribute and seal the file again."""
    from mpi_vta.trace.seal import seal

    if rng.random() < 0.4:
        path.write_bytes(damaged_bytes(rng, study_file().read_bytes()))
        return
    shutil.copyfile(study_file(), path)
    with h5py.File(path, "a") as file:
        table = file[rng.choice(list(file))]
        name = rng.choice(list(table))
        rows = table[name][:]
        if rng.random() < 0.3:
            damage_attribute(rng, file)
        else:
            del table[name]
            odd = (
                None,
                rows[:1],
                rows[None],
                np.zeros(len(rows), np.int8),
                np.zeros(10**6),
                3.0,
                "x",
                h5py.Empty("i8"),
            )
            value = rng.choice(odd)
            if value is not None:
                table[name] = value
    seal(path)


def read_study_file(path: Path) -> object:
    from mpi_vta.study.results import Results

    results = Results(path, {"name": "small", "argv": "explore"}, ["key0", "key1"])
    return results.resume(), results.study()


def make_unsealed(rng: random.Random, path: Path) -> None:
    """Damage a trace without a seal, as version 1 wrote them: every byte reaches the HDF5 library."""
    from mpi_vta.trace.seal import SEAL_BYTES

    shutil.copyfile(trace_folder() / "run.h5", path)
    with h5py.File(path, "a") as file:
        file.attrs["version"] = 1
    path.write_bytes(damaged_bytes(rng, path.read_bytes()[SEAL_BYTES:]))


def make_rank_file(rng: random.Random, path: Path) -> None:
    """Lay out the folder of a run that ended early, `path`, with a damaged file of one rank."""
    from trace_cases import write_ranks

    shutil.rmtree(path, ignore_errors=True)
    write_ranks(path)
    opening_of_two_models().save(path)
    victim = path / "ranks" / rng.choice(("rank-000.h5", "rank-001.h5", "run.json"))
    if victim.suffix == ".json":
        victim.write_text(json.dumps(damaged_value(rng, json.loads(victim.read_text()))))
    else:
        victim.write_bytes(damaged_bytes(rng, victim.read_bytes()))


def read_folder(path: Path) -> object:
    from mpi_vta.trace.repair import repair

    return repair(path)


def opening_of_two_models() -> Any:
    from trace_cases import PLAN, provenance

    from mpi_vta.trace.repair import ModelOpening, Opening

    models = tuple(ModelOpening(PLAN.to_json(), 4, {"name": f"net-{rank}", "ranks": [rank]}) for rank in (0, 1))
    return Opening(2, provenance(), models)


def make_opening(rng: random.Random, path: Path) -> None:
    from mpi_vta.trace.repair import opening_path

    shutil.rmtree(path, ignore_errors=True)
    opening_of_two_models().save(path)
    where = opening_path(path)
    opening, roll = json.loads(where.read_text()), rng.random()
    if roll < 0.3:
        notes = rng.choice([opening["provenance"], *(model["attributes"] for model in opening["models"])])
        notes[rng.choice([*notes, "part", "image_numbers", "images_of_job"])] = rng.choice(ODD_VALUES)
        where.write_text(json.dumps(opening))
    elif roll < 0.7:
        where.write_text(json.dumps(damaged_value(rng, opening)))
    else:
        where.write_bytes(damaged_bytes(rng, where.read_bytes()))
    if rng.random() < 0.2:
        place_no_file(
            rng, path / rng.choice(("parts", "run.h5", "run.h5.part", "ranks/rank-000.h5", "parts/part-000.h5"))
        )


def place_no_file(rng: random.Random, path: Path) -> None:
    """Put something in the place of a file that is no file."""
    path.parent.mkdir(exist_ok=True)
    how = rng.randrange(5)
    if how == 4:
        path.symlink_to("/")
    elif how == 0:
        path.symlink_to(path.parent / "nowhere" if rng.random() < 0.5 else path)
    elif how == 1:
        path.symlink_to("/dev/zero")
    elif how == 2:
        os.mkfifo(path)
    else:
        path.mkdir()


def read_opening(path: Path) -> object:
    """Do what a job that goes on with the folder does, and make a trace of what the opening says."""
    from mpi_vta.job.resumption import keep_earlier_trace, next_part
    from mpi_vta.trace.merge import merge_ranks
    from mpi_vta.trace.repair import Opening
    from mpi_vta.trace.schema import IMAGE_DTYPE

    part = next_part(path)
    opening = Opening.load(path)
    count = len(opening.models)
    merge_ranks(path / "made.h5", [], opening.record([np.zeros(0, IMAGE_DTYPE)] * count, [{}] * count))
    keep_earlier_trace(path, part)
    return opening


# --- ONNX ----------------------------------------------------------------------------------------------------------


@functools.cache
def onnx_models() -> tuple[bytes, ...]:
    from mpi_vta.frontend.zoo import build_digits

    return (build_digits(0, None).SerializeToString(), residual_model())


def residual_model() -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.normal(size=(4, 4, 3, 3)).astype(np.float32), f"w{i}") for i in range(2)]
    conv = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], "c0", **conv),
        helper.make_node("Relu", ["a"], ["b"], "r0"),
        helper.make_node("Conv", ["b", "w1"], ["c"], "c1", **conv),
        helper.make_node("Add", ["c", "b"], ["d"], "sum"),
        helper.make_node("MaxPool", ["d"], ["e"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["e"], ["f"], "mean"),
        helper.make_node("Flatten", ["f"], ["y"], "flat"),
    ]
    shape = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 8, 8])
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])
    graph = helper.make_graph(nodes, "net", [shape], [answer], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def make_onnx(rng: random.Random, path: Path) -> None:
    """Damage bytes, or fields of the protocol buffer."""
    import onnx

    data = rng.choice(onnx_models())
    if rng.random() < 0.4:
        path.write_bytes(damaged_bytes(rng, data))
        return
    model = onnx.load_model_from_string(data)
    for _ in range(rng.choice((1, 1, 2))):
        rng.choice(ONNX_DAMAGES)(rng, model)
    path.write_bytes(model.SerializeToString())


ODD_NUMBERS = (0, -1, 1, 2, 3, 100, 2**31 - 1, 2**31, 2**40, 2**62, -(2**63))


def onnx_shape(rng: random.Random, model: Any) -> None:
    dim = rng.choice(model.graph.input[0].type.tensor_type.shape.dim)
    if rng.random() < 0.3:
        dim.dim_param = "N"
    else:
        dim.dim_value = rng.choice(ODD_NUMBERS)


def onnx_attribute(rng: random.Random, model: Any) -> None:
    attribute = rng.choice([a for node in model.graph.node for a in node.attribute])
    match rng.randrange(5):
        case 0:
            attribute.name = rng.choice(("", "group", "pads", "axis", "dilations"))
        case 1:
            attribute.type = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 8))
        case 2:
            attribute.i = rng.choice(ODD_NUMBERS)
        case 3:
            del attribute.ints[:]
        case _:
            attribute.ints.extend([rng.choice(ODD_NUMBERS)])
            attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(ODD_NUMBERS)


def onnx_initializer(rng: random.Random, model: Any) -> None:
    tensor = rng.choice(model.graph.initializer)
    match rng.randrange(5):
        case 0 if tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(ODD_NUMBERS)
        case 1:
            tensor.data_type = rng.choice((0, 2, 7, 8, 9, 10, 11, 14, 16, 99))
        case 2:
            tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data) + 1)]
        case 3:
            tensor.name = rng.choice(("", "x", "ghost"))
        case _:
            del tensor.dims[:]


def onnx_external(rng: random.Random, model: Any) -> None:
    import onnx

    tensor = rng.choice(model.graph.initializer)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    place = rng.choice(
        ("/etc/passwd", "../../etc/passwd", "/dev/zero", "x", "", ".", "a/../../b", "\x00", "input.onnx")
    )
    entries = {"location": place, "offset": str(rng.choice(ODD_NUMBERS)), "length": str(rng.choice(ODD_NUMBERS))}
    for key, value in entries.items():
        if rng.random() < 0.8:
            tensor.external_data.add(key=key, value=rng.choice((value, value, value, "x")))


def onnx_wiring(rng: random.Random, model: Any) -> None:
    """Rename an end of a node: to nothing, to a later result (a cycle), to itself."""
    node = rng.choice(model.graph.node)
    names = [name for each in model.graph.node for name in (*each.input, *each.output)] + ["", "ghost"]
    ends = rng.choice((node.input, node.output))
    if ends:
        ends[rng.randrange(len(ends))] = rng.choice(names)


ODD_NAMES = ("\x1b[31m", "\x1b]0;x\x07", "<!--<script>", "[/red]", "$x^", "a\nb", "\u202e", "x" * 5000, "")


def onnx_names(rng: random.Random, model: Any) -> None:
    """Give nodes names that a terminal, a table, a picture or a page might obey."""
    for node in model.graph.node:
        node.name = rng.choice(ODD_NAMES) + rng.choice(("", node.name))


def onnx_structure(rng: random.Random, model: Any) -> None:
    graph = model.graph
    match rng.randrange(7):
        case 0:
            graph.node.append(rng.choice(graph.node))
        case 1:
            graph.node.remove(rng.choice(graph.node))
        case 2:
            rng.choice(graph.node).op_type = rng.choice(("Loop", "If", "", "Conv", "Resize", "Pad", "Concat", "Split"))
        case 3:
            model.opset_import[0].version = rng.choice((0, -1, 1, 5, 99, 2**40))
        case 4:
            del graph.output[:]
        case 5:
            graph.input.append(rng.choice(graph.input))
        case _:
            graph.output[0].name = rng.choice(("", "ghost", "x"))


ONNX_DAMAGES = (onnx_shape, onnx_attribute, onnx_initializer, onnx_external, onnx_wiring, onnx_names, onnx_structure)


def read_onnx(path: Path) -> object:
    from mpi_vta.frontend.models import _check_extents
    from mpi_vta.frontend.onnx_import import import_file
    from mpi_vta.graph.verify import verify
    from mpi_vta.text_table import print_table

    imported = import_file(path)
    verify(imported.graph)
    _check_extents(imported.graph, str(path))
    shown = io.StringIO()
    print_table("nodes", ("node",), [(name,) for name, _ in imported.listed], shown, left=("node",))
    assert not set(shown.getvalue()) & {"\x1b", "\x07", "\u202e"}
    return imported


# --- all -----------------------------------------------------------------------------------------------------------


def read_config(path: Path) -> object:
    from mpi_vta.hw.config import VTAConfig

    return VTAConfig.load(path)


def read_cluster(path: Path) -> object:
    from mpi_vta.hw.cluster import Cluster

    return Cluster.load(str(path))


def read_board(path: Path) -> object:
    from mpi_vta.hw.board import Board

    return Board.load(str(path))


def read_part(path: Path) -> object:
    from mpi_vta.hw.parts import load_part

    return load_part(str(path))


def read_experiment(path: Path) -> object:
    from mpi_vta.study.experiment import Experiment

    return Experiment.load(path)


def plan_maker(rng: random.Random, path: Path) -> None:
    text = plan_texts()[rng.randrange(len(plan_texts()))]
    if rng.random() < 0.8:
        text = json.dumps(damaged_value(rng, json.loads(text)))
        path.write_text(text)
    else:
        path.write_bytes(damaged_bytes(rng, text.encode()))


@functools.cache
def plan_texts() -> tuple[str, ...]:
    from mpi_vta.schedule.strategies import plan_by

    return tuple(plan_by(name, small_problem()).to_json() for name in ("pipeline", "scatter-gather"))


def sometimes_no_file(make: Callable[[random.Random, Path], None]) -> Callable[[random.Random, Path], None]:
    """Return a maker of which one result in sixteen is a link, a pipe or a folder, or lies behind a link."""

    def made(rng: random.Random, path: Path) -> None:
        roll = rng.random()
        if roll < 0.05:
            place_no_file(rng, path)
        elif roll < 0.0625:
            behind = path.with_name(f"behind-{path.name}")
            behind.unlink(missing_ok=True)
            make(rng, behind)
            path.symlink_to(behind)
        else:
            make(rng, path)

    return made


def sorted_files(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern))


FILES: Mapping[str, Target] = {
    "vta_json": Target("input.json", json_maker(*sorted_files(HW / "vta_configs", "*.json")), read_config, 10),
    "cluster": Target("input.toml", toml_maker(*sorted_files(HW / "clusters", "*.toml")), read_cluster, 9),
    "board": Target("input.toml", toml_maker(*sorted_files(HW / "boards", "*.toml")), read_board, 8),
    "part": Target("input.toml", toml_maker(*sorted_files(HW / "parts", "*.toml")), read_part, 3),
    "experiment": Target("input.toml", toml_maker(*sorted_files(ROOT / "jobs", "*.toml")), read_experiment, 4),
    "plan": Target("plan.json", plan_maker, read_plan, 12),
    "program": Target(
        "input.program", binary_maker(program_bytes, damaged_zip, resealed("program", 1)), read_program, 7
    ),
    "vector": Target("input.npz", binary_maker(vector_bytes, damaged_zip), read_vector, 7),
    "weights": Target("input.npz", binary_maker(weights_bytes, damaged_zip), read_weights_file, 8),
    "darknet": Target("input.weights", make_darknet, read_weights_file, 2),
    "cfg": Target("input.cfg", make_cfg, read_cfg_file, 2),
    "picture": Target("input.png", make_picture, read_picture_file, 8),
    "trace": Target("run.h5", make_trace, read_whole_trace, 8),
    "study": Target("study.h5", make_study, read_study_file, 4),
    "onnx": Target("input.onnx", make_onnx, read_onnx, 6),
}
TARGETS: Mapping[str, Target] = {
    **{name: replace(target, make=sometimes_no_file(target.make)) for name, target in FILES.items()},
    # bytes within another file: never a file of its own
    "graph": Target("input.graph", binary_maker(graph_bytes, damaged_zip, resealed("graph", 1)), read_graph, 8),
    "opening": Target("run", make_opening, read_opening, 3),
}
# every input of these costs a process of its own
SLOW_TARGETS: Mapping[str, Target] = {
    "unsealed": Target("run.h5", make_unsealed, read_trace, 0),
    "rank_file": Target("run", make_rank_file, read_folder, 0),
}
