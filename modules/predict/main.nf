// Scores every frame of a sample with the classifier.
process PREDICT {
    tag "${sample}"
    label 'per_sample'
    label 'process_low'
    publishDir { "${task.ext.outdir}/${sample}" }, mode: 'copy'

    input:
    tuple val(sample), path(merged, arity: '1..*')
    tuple path(models, stageAs: 'models'), val(fingerprint)
    val code // digest of the package

    output:
    tuple val(sample), path('prediction_results.txt'), emit: predictions
    tuple val("${task.process}"), val('python'), eval("python3 --version | cut -d' ' -f2"), topic: versions
    tuple val("${task.process}"), val('torch'), eval("python3 -c 'import importlib.metadata as m; print(m.version(\"torch\"))'"), topic: versions

    script:
    """
    predict.py --models ./models --threads ${task.cpus} ${merged}
    """

    stub:
    """
    touch prediction_results.txt
    """
}
