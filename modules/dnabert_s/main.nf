// Embeds the nucleotide frames of one file, or of several of any samples, with DNABERT-S: a result for each file.
process DNABERT_S {
    tag "${samples[0]} ${fastas[0].baseName}${fastas.size() > 1 ? " and ${fastas.size() - 1} more" : ''}"
    label 'per_sample'
    label 'process_gpu'
    publishDir { task.ext.outdir }, mode: 'copy', pattern: '**.pt', saveAs: { name ->
        def (number, file) = name.tokenize('/')
        task.ext.keep_intermediate ? "${samples[number.toInteger() - 1]}/intermediate/nucleotide/${file}" : null
    }

    input:
    // samples[0] owns 1/output_1.fa, samples[1] owns 2/output_1.fa
    tuple val(samples), path(fastas, stageAs: '?/*', arity: '1..*')
    tuple path(models, stageAs: 'models'), val(fingerprint)
    val precision
    val on_gpu // as task.accelerator says, which the strict parser leaves out of the task's hash
    val attention // back end, or auto
    val code // digest of the package

    output:
    tuple val(samples), path('*/output_*_DNABERT_S.pt', arity: '1..*'), emit: embeddings // 1/output_1_DNABERT_S.pt
    path '*/output_*_DNABERT_S.json', arity: '1..*', emit: facts
    tuple val("${task.process}"), val('python'), eval("python3 --version | cut -d' ' -f2"), topic: versions
    tuple val("${task.process}"), val('torch'), eval("python3 -c 'import importlib.metadata as m; print(m.version(\"torch\"))'"), topic: versions

    script:
    def device = task.accelerator ? 'cuda' : 'cpu'
    """
    dnabert_s.py --models ./models --precision ${precision} --device ${device} --attention ${attention} --threads ${task.cpus} ${fastas}
    """

    stub:
    def device = task.accelerator ? 'cuda' : 'cpu'
    """
    for fasta in ${fastas}; do
        touch \${fasta%.fa}_DNABERT_S.pt
        echo '{"stage": "DNABERT_S", "device": "${device}"}' > \${fasta%.fa}_DNABERT_S.json
    done
    """
}
