// Embeds the nucleotide frames of one file with DNABERT-S.
process DNABERT_S {
    tag "${sample} ${fasta.baseName}"
    label 'per_sample'
    label 'process_gpu'
    publishDir { "${task.ext.outdir}/${sample}" }, mode: 'copy', pattern: '*.pt', saveAs: { name -> task.ext.keep_intermediate ? "intermediate/nucleotide/${name}" : null }

    input:
    tuple val(sample), path(fasta)
    tuple path(models, stageAs: 'models'), val(fingerprint)
    val precision
    val on_gpu // as task.accelerator says, which the strict parser leaves out of the task's hash
    val attention // back end, or auto
    val code // digest of the package

    output:
    tuple val(sample), path("${fasta.baseName}_DNABERT_S.pt"), emit: embeddings
    path "${fasta.baseName}_DNABERT_S.json", emit: facts
    tuple val("${task.process}"), val('python'), eval("python3 --version | cut -d' ' -f2"), topic: versions
    tuple val("${task.process}"), val('torch'), eval("python3 -c 'import importlib.metadata as m; print(m.version(\"torch\"))'"), topic: versions

    script:
    def device = task.accelerator ? 'cuda' : 'cpu'
    """
    dnabert_s.py --models ./models --precision ${precision} --device ${device} --attention ${attention} --threads ${task.cpus} ${fasta}
    """

    stub:
    def device = task.accelerator ? 'cuda' : 'cpu'
    """
    touch ${fasta.baseName}_DNABERT_S.pt
    echo '{"stage": "DNABERT_S", "device": "${device}"}' > ${fasta.baseName}_DNABERT_S.json
    """
}
