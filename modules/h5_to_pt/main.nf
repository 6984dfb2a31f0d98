// Gives the embeddings of one HDF5 file back per output_N, in the order of the DNABERT-S files.
process H5_TO_PT {
    tag "${sample}"
    label 'per_sample'
    label 'process_single'
    publishDir { "${task.ext.outdir}/${sample}" }, mode: 'copy', pattern: '*.pt', saveAs: { name -> task.ext.keep_intermediate ? "intermediate/protein/${name}" : null }

    input:
    tuple val(sample), path(embeddings), path(dnabert, arity: '1..*')
    val code // digest of the package

    output:
    tuple val(sample), path('output_*_ESM.pt', arity: '1..*'), emit: embeddings
    tuple val("${task.process}"), val('python'), eval("python3 --version | cut -d' ' -f2"), topic: versions

    script:
    """
    h5_to_pt.py ${embeddings} ${dnabert}
    """

    stub:
    """
    touch ${dnabert.collect { pt -> pt.name.replace('_DNABERT_S.pt', '_ESM.pt') }.join(' ')}
    """
}
