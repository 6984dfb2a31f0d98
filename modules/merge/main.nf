// Joins the two embeddings of each frame, id by id, for every output_N of a sample.
process MERGE {
    tag "${sample}"
    label 'per_sample'
    label 'process_single'
    publishDir { "${task.ext.outdir}/${sample}" }, mode: 'copy', pattern: '*.pt', saveAs: { name -> task.ext.keep_intermediate ? "intermediate/merged/${name}" : null }

    input:
    tuple val(sample), path(dnabert, arity: '1..*'), path(esm, arity: '1..*')
    val code // digest of the package

    output:
    tuple val(sample), path('output_*_merged.pt', arity: '1..*'), emit: merged
    tuple val("${task.process}"), val('python'), eval("python3 --version | cut -d' ' -f2"), topic: versions

    script:
    """
    merge.py ${dnabert} ${esm}
    """

    stub:
    """
    touch ${dnabert.collect { pt -> pt.name.replace('_DNABERT_S.pt', '_merged.pt') }.join(' ')}
    """
}
