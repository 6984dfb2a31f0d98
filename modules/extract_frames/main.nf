// Cuts the records of one sample into windows, and windows into open reading frames.
process EXTRACT_FRAMES {
    tag "${sample}"
    label 'per_sample'
    label 'process_single'
    publishDir { "${task.ext.outdir}/${sample}" }, mode: 'copy', pattern: '**.{fa,faa}', saveAs: { name -> task.ext.keep_intermediate ? "intermediate/${name}" : null }

    input:
    tuple val(sample), path(fasta)
    val window_length // bases
    val split_size    // frames per output_N file
    val duplicate_ids // what two records of one id are: error or number
    val code          // digest of the package

    output:
    tuple val(sample), path('nucleotide/output_*.fa', arity: '0..*'), emit: nucleotide, optional: true
    tuple val(sample), path('protein/output_*.fa', arity: '0..*'), emit: protein, optional: true
    tuple val(sample), path("${sample}_records.tsv"), path("${sample}_layout.tsv"), emit: tables, optional: true
    tuple val(sample), path("${sample}_chunked*.fa"), path("${sample}_identified_*"), emit: whole, optional: true
    path '*.refused.json', emit: refused, optional: true // instead of all these: why the sample drops out
    tuple val("${task.process}"), val('python'), eval("python3 --version | cut -d' ' -f2"), topic: versions

    script:
    """
    extract_frames.py --sample '${sample}' --window-length ${window_length} --split-size ${split_size} \\
        --duplicate-ids ${duplicate_ids} --refused '${sample}.refused.json' ${fasta}
    """

    stub:
    """
    mkdir nucleotide protein
    records=\$(gzip -dcf ${fasta} | grep -c '^>' || true)
    for n in \$(seq \$(( records > 0 ? (records + ${split_size} - 1) / ${split_size} : 1 ))); do
        touch nucleotide/output_\$n.fa protein/output_\$n.fa
    done
    touch '${sample}_chunked${window_length}.fa' '${sample}_identified_nucleotide.fa' '${sample}_identified_protein.faa'
    touch '${sample}_records.tsv' '${sample}_layout.tsv'
    """
}
