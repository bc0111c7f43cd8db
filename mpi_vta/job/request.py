"""What the user asks of the main job."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mpi_vta.job.planning import PlanWishes
    from mpi_vta.quantize.options import QuantizeOptions


@dataclass(frozen=True)
class JobRequest:
    """The options of the pipeline command, as given; `mpi_vta.job.prepare` checks them.

    Attributes
    ----------
    argv : tuple of str
        The command line.
    models : tuple of str
        Zoo names or model files; several run at the same time.
    weights : Path or None
        Weights of a zoo model: a file, ``coco`` or ``seeded``.
    images : str or None
        A number, a picture or a folder; None for the model's default.
    resume : Path or None
        Output folder of a job that ended early, to go on with.
    share : str or None
        Parts of the boards' power by model.
    explain : bool
        List the nodes of the models only.
    labels : Path or None
        What the pictures show.
    save_preprocess : bool
        Whether to write how pictures become inputs beside the model.
    wishes : PlanWishes
        How to spread the work.
    quantize_options : QuantizeOptions
        How the model becomes integers.
    config, cluster : str or None
        VTA configuration of every board; boards and network.
    device : str
        ``sim``, ``timing`` or ``pynq``.
    clock : str
        ``virtual`` for modelled times, ``wall`` for measured ones.
    bitstream : str
        File on every board for ``pynq``; empty for the one that the board file names.
    output : Path or None
        Folder of the results; None for ``out/<model>-<strategy>``.
    json : bool
        Whether stdout is for a script.
    seed : int
        Of synthetic weights and images.
    dry_run : bool
        Plan only.
    watchdog_s : float
        Longest wait for a message.
    verify : bool or None
        Whether messages between ranks carry a checksum; None to leave it to the device.
    """

    argv: tuple[str, ...]
    models: tuple[str, ...]
    weights: Path | None
    images: str | None
    wishes: PlanWishes
    quantize_options: QuantizeOptions
    config: str | None
    cluster: str | None
    device: str
    clock: str
    bitstream: str
    output: Path | None
    json: bool
    seed: int
    dry_run: bool
    watchdog_s: float
    share: str | None = None
    verify: bool | None = None
    explain: bool = False
    resume: Path | None = None
    labels: Path | None = None
    save_preprocess: bool = False

    @property
    def folder(self) -> Path:
        """Where the results go."""
        names = "+".join(Path(model).stem for model in self.models)
        return self.resume or self.output or Path("out") / f"{names}-{self.wishes.strategy}"
