// Embeds the protein frames of one file with ESM-2 the v1.0 way: fair-esm, padded batches.
process ESM2_V1 {
    tag "${sample} ${fasta.baseName}"
    label 'per_sample'
    label 'process_gpu'
    publishDir { "${task.ext.outdir}/${sample}" }, mode: 'copy', pattern: '*.pt', saveAs: { name -> task.ext.keep_intermediate ? "intermediate/protein/${name}" : null }

    input:
    tuple val(sample), path(fasta)
    tuple path(models, stageAs: 'models'), val(fingerprint)
    val precision
    val on_gpu // as task.accelerator says, which the strict parser leaves out of the task's hash
    val code // digest of the package

    output:
    tuple val(sample), path("${fasta.baseName}_ESM.pt"), emit: embeddings
    path "${fasta.baseName}_ESM.json", emit: facts
    tuple val("${task.process}"), val('python'), eval("python3 --version | cut -d' ' -f2"), topic: versions
    tuple val("${task.process}"), val('torch'), eval("python3 -c 'import importlib.metadata as m; print(m.version(\"torch\"))'"), topic: versions

    script:
    def device = task.accelerator ? 'cuda' : 'cpu'
    """
    esm2_v1.py --models ./models --precision ${precision} --device ${device} --threads ${task.cpus} ${fasta}
    """

    stub:
    def device = task.accelerator ? 'cuda' : 'cpu'
    """
    touch ${fasta.baseName}_ESM.pt
    echo '{"stage": "ESM2_V1", "device": "${device}"}' > ${fasta.baseName}_ESM.json
    """
}
