"""What ESM-2's next attempt is told, by the real module and the real rules for retrying."""

from pathlib import Path

import pytest

from tests.pipeline.conftest import ROOT, nextflow

pytestmark = pytest.mark.nextflow

# A task's exit codes, attempt by attempt, and how often the budget of each attempt is halved.
ENDS = {
    "memory": ([75, 75, 0], ["0", "1", "2"]),
    "preempted": ([143, 137, 0], ["0", "0", "0"]),
    "then_preempted": ([75, 130, 0], ["0", "1", "1"]),
    "preempted_then": ([137, 75, 0], ["0", "0", "1"]),
}
ESM2 = """#!/usr/bin/env python3
import pathlib, sys
sample, _, _ = sys.argv[-1].partition("=")
told = pathlib.Path({folder!r}, sample)
with told.open("a") as file:
    print(sys.argv[sys.argv.index("--halved") + 1], file=file)
pathlib.Path(sample + ".embeddings.h5").touch()
pathlib.Path("esm2.json").touch()
sys.exit({ends!r}[sample][0][len(told.read_text().split()) - 1])
"""
MAIN = """
include {{ ESM2 }} from '{root}/modules/esm2'

workflow {{
    tasks = channel.of({samples}).map {{ sample -> [sample, [sample], [file("${{projectDir}}/main.nf")]] }}
    models = [file('{root}/virnucpro/model_sets/mini'), '']
    ESM2(tasks, models, 'fp32', false, 'auto', 'auto', '1', [], [], '')
}}
"""
CONFIG = """
params.gpus = '1'
params.strict = true
params.outdir = 'out'
params.keep_intermediate = false
includeConfig '{root}/conf/base.config'
docker.enabled = false
"""


@pytest.mark.parametrize("parser", ["v1", "v2"])
def test_the_budget_is_halved_after_75_alone(tmp_path: Path, parser: str) -> None:
    """Out of GPU memory asks for smaller batches; a signal, as when a node is preempted, for none."""
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin" / "esm2.py"
    tool.write_text(ESM2.format(folder=str(tmp_path), ends=ENDS))
    tool.chmod(0o755)
    samples = ", ".join(f"'{sample}'" for sample in ENDS)
    (tmp_path / "main.nf").write_text(MAIN.format(root=ROOT, samples=samples))
    (tmp_path / "nextflow.config").write_text(CONFIG.format(root=ROOT))
    run = nextflow(tmp_path, "run", "main.nf", parser=parser)
    assert run.code == 0, run.output
    told = {sample: (tmp_path / sample).read_text().split() for sample in ENDS}
    assert told == {sample: halved for sample, (_, halved) in ENDS.items()}
