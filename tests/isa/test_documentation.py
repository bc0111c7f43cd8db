from pathlib import Path

from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import find
from mpi_vta.isa.assembly import assemble
from mpi_vta.isa.documentation import document
from mpi_vta.isa.table import FORMATS, UOP_FIELDS

ISA_PAGE = Path(__file__).parents[2] / "docs" / "isa.md"


def test_page_is_current():
    assert ISA_PAGE.read_text(encoding="utf-8") == document(), "python -m mpi_vta.isa.documentation > docs/isa.md"


def test_page_names_every_field():
    text = document()
    for field in (*UOP_FIELDS, *(field for form in FORMATS for field in form.fields)):
        assert f"| `{field.name}` |" in text


def test_examples_on_the_page_assemble():
    config = VTAConfig.load(find("vta_configs", "pynq_1x16", ".json"))
    examples = [line.strip() for line in document().splitlines() if line.startswith("    ")]
    assert len(assemble("\n".join(examples), config)) == len(examples) == 5
